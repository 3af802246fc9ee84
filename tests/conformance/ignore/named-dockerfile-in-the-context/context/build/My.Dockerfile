FROM base
COPY . /out
