// The native runner's readers and writers alone, for tests:
//
//     parts json            a JSON value from standard input, written again; status 1 if it is none
//     parts npz FROM TO     all arrays of an .npz, written again
//     parts sha256 FILE
//     parts operators       those in the summary of LiteRT's profiler on standard input

#include <stdio.h>
#include <string.h>

#include "runner.h"

int main(int count, char **words) {
  struct text out = {0};
  size_t length;
  if (count == 2 && strcmp(words[1], "json") == 0) {
    const char *why = NULL;
    char *data = read_whole("-", 1 << 24, &length);
    struct json *read = data ? json_read(data, length, &why) : NULL;
    if (read == NULL) return 1;
    json_write(&out, read);
  } else if (count == 4 && strcmp(words[1], "npz") == 0) {
    struct array *arrays = read_npz(words[2], &length);
    write_npz(words[3], arrays, length);
    return 0;
  } else if (count == 3 && strcmp(words[1], "sha256") == 0) {
    char hex[65];
    sha256_file(words[2], hex);
    text_add(&out, hex);
  } else if (count == 2 && strcmp(words[1], "operators") == 0) {
    char *data = read_whole("-", 1 << 24, &length);
    struct text summary = {0};
    if (data == NULL) return 1;
    text_bytes(&summary, data, length);
    text_add(&out, "[");
    struct text operators = {0};
    litert_operators(summary.data, &operators);
    text_bytes(&out, operators.data, operators.length);
    text_add(&out, "]");
  } else {
    return 2;
  }
  return fputs(out.data, stdout) < 0;
}
