// Runs work on XLA's thread pool, so that no second pool competes for the cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "xla/ffi/api/ffi.h"

extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
}

#ifdef __SANITIZE_THREAD__
extern "C" {
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#endif

namespace jaxface {

// A task for XLA's pool. The pool is not built with ThreadSanitizer, which therefore does not see the hand-over of work:
// annotations mark when the task is stored and when it is taken.
template <typename F>
class HandedOver {
 public:
  explicit HandedOver(F f) : f_(std::move(f)) {}
  HandedOver(HandedOver&& other) : f_(std::move(other.f_)) {
#ifdef __SANITIZE_THREAD__
    __tsan_release(this);
#endif
  }
  void operator()() {
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(this);
#endif
    f_();
  }

 private:
  F f_;
};

// Limits oneDNN's OpenMP to one thread on each calling thread, since we split the work ourselves.
class SingleThreaded {
 public:
  SingleThreaded() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~SingleThreaded() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_;
};

// Runs f(0) … f(n - 1) on the calling thread and on free threads of the pool, and returns when all are done. Each thread
// takes the next index, and the caller waits only for indices that were taken: a pool whose threads are all busy, or all
// here, cannot cause a delay or deadlock. The first exception is rethrown to the caller.
template <typename F>
void parallel_for(xla::ffi::ThreadPool& pool, int n, F&& f) {
  struct Work {
    std::atomic<int> next, left;
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error;
    std::remove_reference_t<F>* f;
    int n;
    void run() {
      for (int i; (i = next.fetch_add(1)) < n;) {
        try {
          (*f)(i);
        } catch (...) {
          std::lock_guard<std::mutex> lock(mutex);
          if (!error) error = std::current_exception();
        }
        if (left.fetch_sub(1) == 1) {
          std::lock_guard<std::mutex> lock(mutex);
          finished.notify_all();
        }
      }
    }
  };
  // Late threads still read the counter, so it must outlive this call.
  auto work = std::make_shared<Work>();
  work->f = &f;
  work->n = n;
  work->left = n;
  work->next = 0;  // stored last and read first: publishes the rest
  int helpers = std::min<int>(n, pool.num_threads()) - 1;
  try {
    for (int i = 0; i < helpers; ++i) pool.Schedule(HandedOver([work] { work->run(); }));
  } catch (const std::bad_alloc&) {
    // Scheduled helpers use f, so do not return; continue with fewer helpers.
  }
  work->run();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->finished.wait(lock, [&] { return work->left.load() == 0; });
  if (work->error) std::rethrow_exception(work->error);
}

// Number of parts into which to split `n` equal pieces of work.
inline int parts_of(xla::ffi::ThreadPool& pool, int64_t n) {
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n, pool.num_threads())));
}

}  // namespace jaxface
