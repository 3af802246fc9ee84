FROM node AS deps
RUN echo 'dependencies' > /deps
FROM deps AS builder
RUN cat /deps > /built
CMD ["cat", "/built"]
FROM node AS never
RUN echo 'this stage must not run' && exit 1
FROM ubuntu:16.04
COPY --from=never / /
