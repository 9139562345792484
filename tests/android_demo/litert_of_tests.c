// For tests only: the native runner's litert.c for LiteRtOfTests.java. What ends the native runner
// is an exception here.

#include <jni.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

static struct model model;
static jmp_buf failed;
static struct {
  enum status status;
  char code[40], message[2000], hint[500];
} failure;

// text.c is built with this one under another name.
_Noreturn void fail(enum status status, const char *code, const char *hint, const char *format,
                    ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(failure.message, sizeof failure.message, format, values);
  va_end(values);
  snprintf(failure.code, sizeof failure.code, "%s", code);
  snprintf(failure.hint, sizeof failure.hint, "%s", hint);
  failure.status = status;
  longjmp(failed, 1);
}

static jstring text_of(JNIEnv *env, const char *bytes) {
  jclass kind = (*env)->FindClass(env, "java/lang/String");
  jmethodID make = (*env)->GetMethodID(env, kind, "<init>", "([BLjava/lang/String;)V");
  jbyteArray array = (*env)->NewByteArray(env, (jsize)strlen(bytes));
  (*env)->SetByteArrayRegion(env, array, 0, (jsize)strlen(bytes), (const jbyte *)bytes);
  return (*env)->NewObject(env, kind, make, array, (*env)->NewStringUTF(env, "UTF-8"));
}

static char *bytes_of(JNIEnv *env, jstring text) {
  jclass kind = (*env)->FindClass(env, "java/lang/String");
  jmethodID get = (*env)->GetMethodID(env, kind, "getBytes", "(Ljava/lang/String;)[B");
  jbyteArray array = (*env)->CallObjectMethod(env, text, get, (*env)->NewStringUTF(env, "UTF-8"));
  jsize length = (*env)->GetArrayLength(env, array);
  char *bytes = calloc(1, (size_t)length + 1);
  (*env)->GetByteArrayRegion(env, array, 0, length, (jbyte *)bytes);
  return bytes;
}

static void throw_it(JNIEnv *env) {
  jclass kind = (*env)->FindClass(env, "dev/edgekit/demo/core/Failure");
  jmethodID make = (*env)->GetMethodID(
      env, kind, "<init>", "(ILjava/lang/String;Ljava/lang/String;Ljava/lang/String;)V");
  jobject made = (*env)->NewObject(env, kind, make, (jint)failure.status,
                                   text_of(env, failure.code), text_of(env, failure.message),
                                   text_of(env, failure.hint));
  (*env)->Throw(env, made);
}

#define CALL(name) JNIEXPORT JNICALL Java_dev_edgekit_demo_core_LiteRtOfTests_##name

void CALL(load)(JNIEnv *env, jclass us, jstring library) {
  (void)us;
  library_paths[0] = bytes_of(env, library);
  library_count = 1;
  if (setjmp(failed)) {
    throw_it(env);
    return;
  }
  litert.open();
}

void CALL(open)(JNIEnv *env, jclass us, jstring path, jint threads) {
  (void)us;
  struct job job = {.model = bytes_of(env, path), .threads = threads};
  if (setjmp(failed)) {
    throw_it(env);
    return;
  }
  model = litert.load(&job);
}

void CALL(setInput)(JNIEnv *env, jclass us, jint index, jbyteArray data) {
  (void)us;
  jsize length = (*env)->GetArrayLength(env, data);
  char *bytes = malloc((size_t)length + 1);
  (*env)->GetByteArrayRegion(env, data, 0, length, (jbyte *)bytes);
  if (setjmp(failed)) {
    throw_it(env);
    return;
  }
  if ((size_t)index >= model.inputs || model.input[index].bytes != (size_t)length)
    fail(FAILED, "run_failed", "", "input %d has not %d bytes", (int)index, (int)length);
  litert.set_input((size_t)index, bytes);
  free(bytes);
}

void CALL(compute)(JNIEnv *env, jclass us) {
  (void)us;
  if (setjmp(failed)) {
    throw_it(env);
    return;
  }
  int status = litert.run();
  if (status != 0) run_failed(status);
}

jbyteArray CALL(output)(JNIEnv *env, jclass us, jint index, jint bytes) {
  (void)us;
  char *data = malloc((size_t)bytes + 1);
  if (setjmp(failed)) {
    throw_it(env);
    return NULL;
  }
  if ((size_t)index >= model.outputs || model.output[index].bytes != (size_t)bytes)
    fail(FAILED, "run_failed", "", "output %d has not %d bytes", (int)index, (int)bytes);
  litert.get_output((size_t)index, data);
  jbyteArray array = (*env)->NewByteArray(env, bytes);
  (*env)->SetByteArrayRegion(env, array, 0, bytes, (const jbyte *)data);
  free(data);
  return array;
}
