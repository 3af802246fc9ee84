#ifndef TEXT_H
#define TEXT_H

#include <stdio.h>

int text_word(FILE *in, char *word, size_t size);

#endif
