#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner.h"

char *read_whole(const char *path, size_t most, size_t *length) {
  if (strcmp(path, "-") == 0) return read_open(STDIN_FILENO, most, length);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NULL;
  char *data = read_open(file, most, length);
  int problem = errno;
  close(file);
  errno = problem;
  return data;
}

char *read_open(int file, size_t most, size_t *length) {
  char *data = NULL;
  size_t room = 0, used = 0;
  int problem = 0;
  while (true) {
    if (room - used < 1 << 16) {
      room = room ? room * 2 : 1 << 16;
      data = need_memory(data, room, 1);
    }
    ssize_t got = read(file, data + used, room - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) problem = errno;
    if (got <= 0) break;
    used += (size_t)got;
    if (used > most) {
      problem = EFBIG;
      break;
    }
  }
  if (problem) {
    free(data);
    errno = problem;
    return NULL;
  }
  *length = used;
  return data;
}

int memory_file(void) {
  int made = (int)syscall(SYS_memfd_create, "edgekit", 1u);  // closed on exec
  if (made >= 0) return made;
  FILE *file = tmpfile();  // a kernel before 3.17
  if (file == NULL) return -1;
  made = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
  fclose(file);
  return made;
}

char *read_small(const char *path, struct text *why) {
  size_t length;
  char *data = read_whole(path, 1 << 20, &length);
  if (data == NULL) {
    if (why) {
      text_free(why);
      text_format(why, "%s: %s", path, strerror(errno));
    }
    return NULL;
  }
  size_t start = 0;
  while (start < length && memchr("\0\n ", data[start], 3)) start++;
  while (length > start && memchr("\0\n ", data[length - 1], 3)) length--;
  struct text out = {0};
  text_bytes(&out, data + start, length - start);
  free(data);
  return out.data;
}

// SHA-256 as FIPS 180-4 has it, section 6.2.

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turned(uint32_t value, int by) { return value >> by | value << (32 - by); }

static void sha256_block(uint32_t state[8], const unsigned char block[64]) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
           (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t b = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t e = turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25);
    uint32_t one = v[7] + e + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
    uint32_t a = turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22);
    uint32_t two = a + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += one;
    v[0] = one + two;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

void sha256_file(const char *path, char hex[65]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(BAD_JOB, "bad_job", "", "cannot read '%s': %s", path, strerror(errno));
  enum { ROOM = 1 << 16 };
  unsigned char *data = need_memory(NULL, ROOM + 128, 1);
  uint64_t total = 0;
  size_t kept = 0;
  while (true) {
    ssize_t got = read(file, data + kept, ROOM - kept);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(BAD_JOB, "bad_job", "", "cannot read '%s': %s", path, strerror(errno));
    if (got == 0) break;
    total += (uint64_t)got;
    kept += (size_t)got;
    size_t whole = kept / 64 * 64;
    for (size_t at = 0; at < whole; at += 64) sha256_block(state, data + at);
    memmove(data, data + whole, kept - whole);
    kept -= whole;
  }
  close(file);
  data[kept++] = 0x80;
  while (kept % 64 != 56) data[kept++] = 0;
  for (int i = 7; i >= 0; i--) data[kept++] = (unsigned char)(total * 8 >> 8 * i);
  for (size_t at = 0; at < kept; at += 64) sha256_block(state, data + at);
  free(data);
  static const char digit[] = "0123456789abcdef";
  for (int i = 0; i < 64; i++) hex[i] = digit[state[i / 8] >> (28 - 4 * (i % 8)) & 15];
  hex[64] = 0;
}
