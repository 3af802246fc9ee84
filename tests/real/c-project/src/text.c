#include "text.h"

#include <ctype.h>

int text_word(FILE *in, char *word, size_t size)
{
    size_t length = 0;
    int c;
    while ((c = getc(in)) != EOF && isspace(c))
        ;
    for (; c != EOF && !isspace(c); c = getc(in))
        if (length + 1 < size)
            word[length++] = (char)c;
    word[length] = '\0';
    return length > 0;
}
