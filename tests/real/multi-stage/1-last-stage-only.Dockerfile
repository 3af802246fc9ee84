FROM node
WORKDIR /app0
RUN echo left behind > only-in-the-first
FROM node
WORKDIR /app1
RUN echo shipped > index1.js
CMD ["cat", "/app1/index1.js"]
