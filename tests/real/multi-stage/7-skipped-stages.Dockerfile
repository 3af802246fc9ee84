FROM node AS unused
RUN echo 'the unused stage ran' && echo unused > /unused
FROM ubuntu:16.04 AS final
RUN echo used > /used
CMD ["cat", "/used"]
