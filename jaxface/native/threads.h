// Work shared over XLA's own threads, so that no second pool competes for the cores.
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

// A task for XLA's pool. The pool is not built with ThreadSanitizer, which does not see it hand work over to a thread:
// it is told when the task lies in its place and when it is taken up.
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

// oneDNN's OpenMP is told, on each thread that calls it, to make no threads: the split over threads is ours.
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

// Runs f(0) … f(n - 1), on the calling thread and on whatever threads of the pool are free, and returns when all are
// done. Whoever comes takes the next index, and only indices that were taken are waited for: a pool whose threads are
// all busy, or all here, delays nothing and cannot deadlock. The first exception is thrown again on the caller's side.
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
  // Threads that come too late still look at the counter: it must outlive this call.
  auto work = std::make_shared<Work>();
  work->f = &f;
  work->n = n;
  work->left = n;
  work->next = 0;  // last, and read first: whoever sees it sees the rest
  int helpers = std::min<int>(n, pool.num_threads()) - 1;
  try {
    for (int i = 0; i < helpers; ++i) pool.Schedule(HandedOver([work] { work->run(); }));
  } catch (const std::bad_alloc&) {
    // Those that are under way use f: leaving now would take it from them. It goes with fewer helpers.
  }
  work->run();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->finished.wait(lock, [&] { return work->left.load() == 0; });
  if (work->error) std::rethrow_exception(work->error);
}

// How many parts to cut `n` equal pieces of work into.
inline int parts_of(xla::ffi::ThreadPool& pool, int64_t n) {
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n, pool.num_threads())));
}

}  // namespace jaxface
