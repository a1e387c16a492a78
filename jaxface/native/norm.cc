// Batch norm with activation and shortcut addition, as four passes over channels-last arrays [many, B, R, C]: two
// reductions and two maps. The arithmetic on [C] arrays between them, and sums over devices, are done in JAX.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "activation.h"
#include "bf16.h"
#include "checks.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxface {
namespace {

namespace ffi = xla::ffi;

template <typename T>
struct Loops {
  void (*moments)(const T*, int64_t, int64_t, double*, float*);
  void (*apply)(const T*, const T*, int64_t, int64_t, const float*, T*);
  void (*sums)(const T*, const T*, int64_t, int64_t, const float*, double*, float*);
  void (*input_gradient)(const T*, const T*, int64_t, int64_t, const float*, T*);
};

namespace base {
#include "norm_loops.h"
}
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "norm_loops.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
namespace avx512 {
#include "norm_loops.h"
}
#pragma GCC pop_options

template <typename T>
Loops<T> best_loops(int64_t act) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return avx512::loops<T>(act);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::loops<T>(act);
  return base::loops<T>(act);
}

// An array [many, B, R, C] split into parts of rows. The split depends only on shapes: sums are bitwise equal for any
// number of threads.
struct Rows {
  explicit Rows(ffi::AnyBuffer& x) {
    check_rank("x", x, 4);
    auto d = x.dimensions();
    many = d[0], rows = d[1] * d[2], channels = d[3];
    parts = std::max<int64_t>(1, std::min<int64_t>(64, rows * channels / 32768));
  }
  int64_t start(int64_t part) const { return rows * part / parts; }
  int64_t length(int64_t part) const { return start(part + 1) - start(part); }
  int64_t offset(int64_t m, int64_t part) const { return (m * rows + start(part)) * channels; }
  // An array of the shape and type of x.
  void check_like(const char* name, const ffi::AnyBuffer& x, const ffi::AnyBuffer& other) const {
    auto d = x.dimensions();
    check_shape(name, other, {d[0], d[1], d[2], d[3]}), check_type(name, other, x.element_type());
  }
  void check_sums(const ffi::AnyBuffer& out, int64_t count) const {
    check_shape("result", out, {many, count, channels}), check_type("result", out, ffi::F32);
  }
  int64_t many, rows, channels, parts;
};

template <typename F>
void each_part(ffi::ThreadPool& pool, const Rows& r, F f) {
  parallel_for(pool, static_cast<int>(r.many * r.parts), [&](int i) { f(i / r.parts, i % r.parts); });
}

// Runs `part(m, part, sum, run)` for every part, each with its own `width`·C sums, and adds these in order.
template <typename F>
std::vector<double> reduce(ffi::ThreadPool& pool, const Rows& r, int64_t width, F part) {
  int64_t step = width * r.channels;
  std::vector<double> sums(r.many * r.parts * step), total(r.many * step);
  each_part(pool, r, [&](int64_t m, int64_t i) {
    std::vector<float> run(3 * r.channels);
    part(m, i, sums.data() + (m * r.parts + i) * step, run.data());
  });
  for (int64_t m = 0; m < r.many; ++m)
    for (int64_t i = 0; i < r.parts; ++i)
      for (int64_t c = 0; c < step; ++c) total[m * step + c] += sums[(m * r.parts + i) * step + c];
  return total;
}

// Rows of parameters [many or 1, count, C], float32.
class Parameters {
 public:
  Parameters(ffi::AnyBuffer& k, const Rows& r, int64_t count) : data_(data<float>(k)) {
    check_type("parameters", k, ffi::F32);
    step_ = check_shared("parameters", k, r.many, {count, r.channels}) == 1 ? 0 : count * r.channels;
  }
  const float* operator[](int64_t m) const { return data_ + m * step_; }

 private:
  const float* data_;
  int64_t step_;
};

// Mean and biased variance: out [many, 2, C].
template <typename T>
void moments(ffi::ThreadPool& pool, ffi::AnyBuffer& x, ffi::AnyBuffer& out) {
  Rows r(x);
  r.check_sums(out, 2);
  auto loops = best_loops<T>(kLinear);
  auto total = reduce(pool, r, 2, [&](int64_t m, int64_t i, double* sum, float* run) {
    loops.moments(data<T>(x) + r.offset(m, i), r.length(i), r.channels, sum, run);
  });
  for (int64_t m = 0; m < r.many; ++m) {
    for (int64_t c = 0; c < r.channels; ++c) {
      int64_t i = m * 2 * r.channels + c;
      double mean = total[i] / r.rows;
      data<float>(out)[i] = static_cast<float>(mean);
      data<float>(out)[i + r.channels] = static_cast<float>(std::max(0.0, total[i + r.channels] / r.rows - mean * mean));
    }
  }
}

template <typename T>
void apply(ffi::ThreadPool& pool, ffi::AnyBuffer& x, ffi::AnyBuffer* more, ffi::AnyBuffer& k, int64_t act, ffi::AnyBuffer& out) {
  Rows r(x);
  Parameters row(k, r, 3);
  r.check_like("result", x, out);
  if (more) r.check_like("shortcut", x, *more);
  auto loops = best_loops<T>(act);
  each_part(pool, r, [&](int64_t m, int64_t i) {
    int64_t at = r.offset(m, i);
    loops.apply(data<T>(x) + at, more ? data<T>(*more) + at : nullptr, r.length(i), r.channels,
                row[m], data<T>(out) + at);
  });
}

// out [many, 3, C].
template <typename T>
void sums(ffi::ThreadPool& pool, ffi::AnyBuffer& x, ffi::AnyBuffer& dy, ffi::AnyBuffer& k, int64_t act, ffi::AnyBuffer& out) {
  Rows r(x);
  Parameters row(k, r, 4);
  r.check_like("gradient", x, dy), r.check_sums(out, 3);
  auto loops = best_loops<T>(act);
  auto total = reduce(pool, r, 3, [&](int64_t m, int64_t i, double* sum, float* run) {
    int64_t at = r.offset(m, i);
    loops.sums(data<T>(x) + at, data<T>(dy) + at, r.length(i), r.channels, row[m], sum, run);
  });
  std::copy(total.begin(), total.end(), data<float>(out));
}

template <typename T>
void input_gradient(ffi::ThreadPool& pool, ffi::AnyBuffer& x, ffi::AnyBuffer& dy, ffi::AnyBuffer& k, int64_t act,
                    ffi::AnyBuffer& out) {
  Rows r(x);
  Parameters row(k, r, 7);
  r.check_like("gradient", x, dy), r.check_like("result", x, out);
  auto loops = best_loops<T>(act);
  each_part(pool, r, [&](int64_t m, int64_t i) {
    int64_t at = r.offset(m, i);
    loops.input_gradient(data<T>(x) + at, data<T>(dy) + at, r.length(i), r.channels, row[m], data<T>(out) + at);
  });
}

// Calls f<float>() or f<Bf16>() by the type of x, and converts exceptions to XLA errors.
template <typename F>
ffi::Error typed(const char* name, ffi::AnyBuffer& x, F f) {
  std::string call = std::string("batch norm, ") + name;
  return reported(call, [&] { return call + " of " + text(x.dimensions()); }, [&] {
    bool narrow = float_type("x", x) == ffi::BF16;
    if (x.element_count() == 0) throw WrongArray("x is " + text(x.dimensions()) + ": takes at least one element");
    narrow ? f(Bf16{}) : f(float{});
  });
}

ffi::Error NormMoments(ffi::ThreadPool pool, ffi::AnyBuffer x, Result out) {
  return typed("moments", x, [&](auto t) { moments<decltype(t)>(pool, x, *out); });
}

ffi::Error NormApply(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer k, Result out, int64_t act) {
  return typed("apply", x, [&](auto t) { apply<decltype(t)>(pool, x, nullptr, k, act, *out); });
}

ffi::Error NormApplyAdd(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer more, ffi::AnyBuffer k, Result out, int64_t act) {
  return typed("apply and add", x, [&](auto t) { apply<decltype(t)>(pool, x, &more, k, act, *out); });
}

ffi::Error NormSums(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer dy, ffi::AnyBuffer k, Result out, int64_t act) {
  return typed("gradient sums", x, [&](auto t) { sums<decltype(t)>(pool, x, dy, k, act, *out); });
}

ffi::Error NormInputGradient(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer dy, ffi::AnyBuffer k, Result out, int64_t act) {
  return typed("input gradient", x, [&](auto t) { input_gradient<decltype(t)>(pool, x, dy, k, act, *out); });
}

}  // namespace
}  // namespace jaxface

#pragma GCC visibility push(default)
using jaxface::Buffer;
using jaxface::bind;
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceNormMoments, jaxface::NormMoments, bind().Arg<Buffer>().Ret<Buffer>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceNormApply, jaxface::NormApply,
                              bind().Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<int64_t>("act"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceNormApplyAdd, jaxface::NormApplyAdd,
                              bind().Arg<Buffer>().Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<int64_t>("act"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceNormSums, jaxface::NormSums,
                              bind().Arg<Buffer>().Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<int64_t>("act"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceNormInputGradient, jaxface::NormInputGradient,
                              bind().Arg<Buffer>().Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<int64_t>("act"));
#pragma GCC visibility pop
