FROM node
WORKDIR /app0
RUN echo 'from stage 0' > index0.js
FROM node
WORKDIR /app1
COPY --from=0 /app0/index0.js .
CMD ["cat", "/app1/index0.js"]
