FROM node
ENV NODE_VERSION 8.11.4 with words
ENV A=1 B="two words"
CMD ["sh", "-c", "echo $NODE_VERSION / $A / $B"]
