// What a runtime says on standard error while it loads a model.

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

static int kept_error = -1, said = -1;

void listen_to_runtime(void) {
  said = memory_file();
  kept_error = said < 0 ? -1 : dup(STDERR_FILENO);
  if (kept_error >= 0) dup2(said, STDERR_FILENO);
}

const char *heard(const char *(*error_in)(const char *line)) {
  static struct text out;
  text_free(&out);
  text_add(&out, "");
  if (kept_error < 0) return out.data;
  dup2(kept_error, STDERR_FILENO);
  close(kept_error);
  kept_error = -1;
  lseek(said, 0, SEEK_SET);
  FILE *words = fdopen(said, "r");
  char *line = NULL;
  size_t room = 0;
  while (words && getline(&line, &room, words) > 0) {
    line[strcspn(line, "\n")] = 0;
    const char *error = error_in(line);
    if (error == NULL || out.length > 500) continue;
    text_format(&out, "%s%s", out.length ? " " : "", error);
  }
  free(line);
  if (words) fclose(words);
  if (out.length > 500) {
    out.length = 500;  // not in the middle of a character
    while (out.length && (out.data[out.length] & 0xC0) == 0x80) out.length--;
    out.data[out.length] = 0;
  }
  return out.data;
}
