FROM node AS builder
WORKDIR /build
RUN echo 'from the builder' > result
FROM ubuntu:16.04
COPY --from=builder /build/result /result
CMD ["cat", "/result"]
