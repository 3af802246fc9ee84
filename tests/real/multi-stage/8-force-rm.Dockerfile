FROM node AS builder
RUN echo made by this run > /made
RUN exit 7
