// A wall clock that can be stepped for one server alone: the clock of a machine is that of all its processes, and a time
// namespace has clocks of its own for CLOCK_MONOTONIC and CLOCK_BOOTTIME only. The dynamic linker puts these functions before
// those of libc (LD_PRELOAD). The file that FAULTS_CLOCK names says by how many seconds the clock is wrong.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 1022

static struct shared {
  _Atomic int64_t seconds;
  _Atomic int32_t processes[PROCESSES]; // that have loaded this
} *shared;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("FAULTS_CLOCK");
  int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return;
  shared = memory;
  for (int i = 0; i < PROCESSES; i++) {
    int32_t none = 0;
    if (atomic_compare_exchange_strong(&shared->processes[i], &none, getpid())) return;
  }
}

static int64_t step(void) { return shared == NULL ? 0 : atomic_load(&shared->seconds); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += step();
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  static int (*real)(struct timeval *, void *);
  if (real == NULL) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  if (result == 0) now->tv_sec += step();
  return result;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now != NULL) *now = exact.tv_sec;
  return exact.tv_sec;
}
