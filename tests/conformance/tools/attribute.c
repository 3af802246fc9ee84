// Sets an extended attribute, which busybox cannot: attribute PATH NAME VALUE, the value in hexadecimal digits.
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int count, char **words) {
    unsigned char value[4096];
    size_t length = 0;
    if (count != 4) return 2;
    for (const char *at = words[3]; at[0] && at[1] && length < sizeof value; at += 2) {
        unsigned byte;
        if (sscanf(at, "%2x", &byte) != 1) return 2;
        value[length++] = byte;
    }
    if (setxattr(words[1], words[2], value, length, 0)) {
        perror(words[1]);
        return 1;
    }
    return 0;
}
