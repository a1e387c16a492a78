// Convolution with a kernel for each position, or each square region, of the result: values, gradient of the input,
// gradient of the kernels. Kernels, which are most of such a layer's memory, are read or written once.

#include <algorithm>
#include <cstdint>
#include <string>

#include "bf16.h"
#include "checks.h"
#include "problem.h"
#include "scratch.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxface {
namespace {

namespace ffi = xla::ffi;

namespace base {
constexpr int kRows = 4, kLanes = 4;
#include "local_loops.h"
}
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
constexpr int kRows = 4, kLanes = 8;
#include "local_loops.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
namespace avx512 {
constexpr int kRows = 8, kLanes = 16;
#include "local_loops.h"
}
#pragma GCC pop_options

decltype(&base::product) best_product() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return avx512::product;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::product;
  return base::product;
}

// Buffers of a running call and of its tasks.
thread_local Scratch call_scratch(64 << 20), task_scratch(16 << 20);

int64_t to16(int64_t n) { return (n + 15) / 16 * 16; }

struct Layer {
  int64_t n, h, w, c;                         // images
  int64_t high, wide, kh, kw, o;              // regions, and their kernels
  int64_t oh, ow;                             // result
  int64_t stride_h, stride_w, top, left, block;
  int64_t regions() const { return high * wide; }
  int64_t region(int64_t i, int64_t j) const { return i / block * wide + j / block; }
  // Rows and columns of the padded image that the windows cover.
  int64_t seen_h() const { return (oh - 1) * stride_h + kh; }
  int64_t seen_w() const { return (ow - 1) * stride_w + kw; }
  // Length of a row of a window, which is contiguous in the image and in the kernel.
  int64_t taps() const { return kw * c; }
  int64_t x_size() const { return n * h * w * c; }
  int64_t y_size() const { return n * oh * ow * o; }
  int64_t kernel_size() const { return kh * taps() * o; }  // of one region
  // Pitch of a row of an image, chosen so that neighbouring rows do not map to the same cache lines.
  int64_t pitch() const { return to16(seen_w() * c) + (to16(seen_w() * c) % 128 ? 0 : 16); }
  std::string text() const {
    return "locally connected layer, images " + jaxface::text(Dims{n, h, w, c}) + ", kernels " +
           jaxface::text(Dims{high, wide, kh, kw, c, o}) + ", regions of " + std::to_string(block) + ", strides " +
           jaxface::text(Dims{stride_h, stride_w}) + ", result " + jaxface::text(Dims{n, oh, ow, o});
  }
};

// Copies and converts T to float.
template <typename T>
void widen(const T* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = load(from + i);
}
template <typename T>
void narrow(const float* from, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) store(to + i, from[i]);
}

// One of the three functions for one set of kernels.
template <typename T>
class Call {
 public:
  Call(ffi::ThreadPool& pool, const Layer& layer)
      : pool_(pool), l_(layer), product_(best_product()), o16_(to16(l_.o)), n16_(to16(l_.n)) {}

  void values(const T* x, const T* kernel, T* y) {
    const float* seen = pad_images(x);
    each(l_.regions(), [&](int64_t region) {
      Positions at(l_, region);
      int64_t size = l_.n * o16_;
      float* sums = scratch(at.count() * size + l_.taps() * o16_);
      std::fill(sums, sums + at.count() * size, 0.f);
      for (int64_t a = 0; a < l_.kh; ++a) {
        const float* k = padded(kernel + region * l_.kernel_size() + a * l_.taps() * l_.o, sums + at.count() * size);
        at.each([&](int64_t p, int64_t i, int64_t j) {
          product_(sums + p * size, o16_, seen_at(seen, i, j, a), l_.pitch(), 1, k, o16_, l_.n, o16_, l_.taps());
        });
      }
      at.each([&](int64_t p, int64_t i, int64_t j) {
        for (int64_t m = 0; m < l_.n; ++m) narrow(sums + p * size + m * o16_, y + ((m * l_.oh + i) * l_.ow + j) * l_.o, l_.o);
      });
    });
  }

  void kernel_gradient(const T* x, const T* dy, T* dkernel) {
    const float* seen = pad_images(x);
    each(l_.regions(), [&](int64_t region) {
      Positions at(l_, region);
      int64_t size = l_.n * o16_;
      float *slopes = scratch(at.count() * size + l_.taps() * o16_), *sums = slopes + at.count() * size;
      std::fill(slopes, sums, 0.f);
      at.each([&](int64_t p, int64_t i, int64_t j) {
        for (int64_t m = 0; m < l_.n; ++m) widen(dy + ((m * l_.oh + i) * l_.ow + j) * l_.o, slopes + p * size + m * o16_, l_.o);
      });
      for (int64_t a = 0; a < l_.kh; ++a) {
        std::fill(sums, sums + l_.taps() * o16_, 0.f);
        at.each([&](int64_t p, int64_t i, int64_t j) {
          product_(sums, o16_, seen_at(seen, i, j, a), 1, l_.pitch(), slopes + p * size, o16_, l_.taps(), o16_, l_.n);
        });
        T* out = dkernel + region * l_.kernel_size() + a * l_.taps() * l_.o;
        for (int64_t t = 0; t < l_.taps(); ++t) narrow(sums + t * o16_, out + t * l_.o, l_.o);
      }
    });
  }

  // Tasks are rows of the image: no two tasks add to the same pixel, and each row of a kernel is read by one task.
  void input_gradient(const T* dy, const T* kernel, T* dx) {
    float* slopes = reinterpret_cast<float*>(call_scratch.get(l_.oh * l_.ow * l_.o * n16_ * sizeof(float)));
    each(l_.oh * l_.ow, [&](int64_t p) {
      float* to = slopes + p * l_.o * n16_;
      std::fill(to, to + l_.o * n16_, 0.f);
      for (int64_t m = 0; m < l_.n; ++m)
        for (int64_t o = 0; o < l_.o; ++o) to[o * n16_ + m] = load(dy + (m * l_.oh * l_.ow + p) * l_.o + o);
    });
    each(l_.h, [&](int64_t row) {
      int64_t r = row + l_.top, wide = std::max(l_.seen_w(), l_.w + l_.left) * l_.c * n16_;
      float *sums = scratch(wide + l_.taps() * l_.o), *widened = sums + wide;
      std::fill(sums, widened, 0.f);
      for (int64_t a = r % l_.stride_h; a < std::min(l_.kh, r + 1); a += l_.stride_h) {
        int64_t i = (r - a) / l_.stride_h, last = -1;
        const float* k = nullptr;
        for (int64_t j = 0; i < l_.oh && j < l_.ow; ++j) {
          int64_t region = l_.region(i, j);
          if (region != last) k = plain(kernel + region * l_.kernel_size() + a * l_.taps() * l_.o, widened), last = region;
          float* to = sums + j * l_.stride_w * l_.c * n16_;
          product_(to, n16_, k, l_.o, 1, slopes + (i * l_.ow + j) * l_.o * n16_, n16_, l_.taps(), n16_, l_.o);
        }
      }
      const float* from = sums + l_.left * l_.c * n16_;
      for (int64_t m = 0; m < l_.n; ++m) {
        T* to = dx + (m * l_.h + row) * l_.w * l_.c;
        for (int64_t t = 0; t < l_.w * l_.c; ++t) store(to + t, from[t * n16_ + m]);
      }
    });
  }

 private:
  // The positions of a region.
  struct Positions {
    Positions(const Layer& l, int64_t region)
        : top(region / l.wide * l.block), left(region % l.wide * l.block),
          high(std::min(l.block, l.oh - top)), wide(std::min(l.block, l.ow - left)) {}
    int64_t count() const { return high * wide; }
    template <typename F>
    void each(F f) const {
      for (int64_t p = 0; p < count(); ++p) f(p, top + p / wide, left + p % wide);
    }
    int64_t top, left, high, wide;
  };

  template <typename F>
  void each(int64_t n, F f) {
    parallel_for(pool_, static_cast<int>(n), [&](int i) {
      f(i);
      task_scratch.trim();
    });
  }
  static float* scratch(int64_t floats) { return reinterpret_cast<float*>(task_scratch.get(floats * sizeof(float))); }

  // The padded images as floats, [rows seen, B, pitch].
  const float* pad_images(const T* x) {
    int64_t pitch = l_.pitch(), from = l_.left * l_.c, columns = std::min(l_.w * l_.c, l_.seen_w() * l_.c - from);
    float* seen = reinterpret_cast<float*>(call_scratch.get(l_.seen_h() * l_.n * pitch * sizeof(float)));
    each(l_.seen_h(), [&](int64_t r) {
      for (int64_t m = 0; m < l_.n; ++m) {
        float* to = seen + (r * l_.n + m) * pitch;
        std::fill(to, to + pitch, 0.f);
        int64_t row = r - l_.top;
        if (row >= 0 && row < l_.h && columns > 0) widen(x + (m * l_.h + row) * l_.w * l_.c, to + from, columns);
      }
    });
    return seen;
  }
  // Row `a` of the window at position (i, j), of the first image.
  const float* seen_at(const float* seen, int64_t i, int64_t j, int64_t a) const {
    return seen + (i * l_.stride_h + a) * l_.n * l_.pitch() + j * l_.stride_w * l_.c;
  }

  // A row of a kernel [kw · C, O] as floats, converted into `buffer` if necessary.
  const float* plain(const float* k, float*) const { return k; }
  const float* plain(const Bf16* k, float* buffer) const {
    widen(k, buffer, l_.taps() * l_.o);
    return buffer;
  }
  // The same with its rows padded to full vectors.
  const float* padded(const T* k, float* buffer) const {
    if (o16_ == l_.o) return plain(k, buffer);
    for (int64_t t = 0; t < l_.taps(); ++t) {
      widen(k + t * l_.o, buffer + t * o16_, l_.o);
      std::fill(buffer + t * o16_ + l_.o, buffer + (t + 1) * o16_, 0.f);
    }
    return buffer;
  }

  ffi::ThreadPool& pool_;
  const Layer& l_;
  decltype(&base::product) product_;
  int64_t o16_, n16_;
};

Layer layer(const Places& at, ffi::Span<const int64_t> window, int64_t block) {
  auto& [x, kernel, y] = at;
  check_rank("images", x, 5), check_rank("kernels", kernel, 7), check_rank("result", y, 5);
  auto d = x.dimensions(), k = kernel.dimensions(), r = y.dimensions();
  if (window.size() != 4) throw WrongArray("window is " + text(window) + ": takes strides and pads, 4 numbers");
  Layer l{d[1], d[2], d[3], d[4], k[1], k[2], k[3], k[4], k[6], r[2], r[3], window[0], window[1], window[2], window[3], block};
  if (std::min({l.stride_h, l.stride_w, block}) < 1 || std::min(l.top, l.left) < 0) {
    throw WrongArray("window is " + text(window) + " with regions of " + std::to_string(block) +
                     ": takes strides and regions from 1, pads from 0");
  }
  check_shape("result", y, {d[0], l.n, l.oh, l.ow, l.o});
  check_shared("kernels", kernel, d[0], {(l.oh + block - 1) / block, (l.ow + block - 1) / block, l.kh, l.kw, l.c, l.o});
  auto type = float_type("images", x);
  check_type("kernels", kernel, type), check_type("result", y, type);
  return l;
}

template <typename T>
void run(ffi::ThreadPool& pool, const Layer& l, int64_t kind, Buffer& a, Buffer& b, Buffer& out) {
  const T *first = data<T>(a), *second = data<T>(b);
  T* result = data<T>(out);
  int64_t many = a.dimensions()[0], one = l.regions() * l.kernel_size();
  int64_t kernel_step = kind != kKernelGradient && b.dimensions()[0] == 1 ? 0 : one;
  Call<T> call(pool, l);
  for (int64_t m = 0; m < many; ++m) {
    if (kind == kValue) call.values(first + m * l.x_size(), second + m * kernel_step, result + m * l.y_size());
    if (kind == kInputGradient) call.input_gradient(first + m * l.y_size(), second + m * kernel_step, result + m * l.x_size());
    if (kind == kKernelGradient) call.kernel_gradient(first + m * l.x_size(), second + m * l.y_size(), result + m * one);
  }
  call_scratch.trim();
}

ffi::Error Local(ffi::ThreadPool pool, Buffer a, Buffer b, Result out, int64_t kind, ffi::Span<const int64_t> window,
                 int64_t block) {
  Layer l{};
  return reported("locally connected layer", [&] { return l.text(); }, [&] {
    l = layer(places(kind, a, b, *out), window, block);
    bool shared = out->dimensions()[0] != a.dimensions()[0];
    if (kind == kKernelGradient && shared) throw WrongArray("kernels are not as many as images");
    if (sums_nothing(a, b, *out)) return;
    if (a.element_type() == ffi::BF16) {
      run<Bf16>(pool, l, kind, a, b, *out);
    } else {
      run<float>(pool, l, kind, a, b, *out);
    }
  });
}

}  // namespace
}  // namespace jaxface

#pragma GCC visibility push(default)
using jaxface::Buffer;
using jaxface::bind;
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceLocal, jaxface::Local,
                              bind()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Ret<Buffer>()
                                  .Attr<int64_t>("kind")
                                  .Attr<xla::ffi::Span<const int64_t>>("window")
                                  .Attr<int64_t>("block"));
#pragma GCC visibility pop
