// Convolution by oneDNN for XLA's CPU backend: values, gradient of the input, gradient of the kernel.
//
// Images are NHWC and kernels HWIO, as XLA has them; the batch is cut into as many parts as there are threads.

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "dnnl.hpp"
#include "primitives.h"
#include "problem.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxface {
namespace {

namespace ffi = xla::ffi;

// Memory of one thread, kept from call to call up to a bound.
class Scratch {
 public:
  char* get(size_t bytes) {
    if (bytes > size_) {
      data_.reset(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
      size_ = bytes;
    }
    return data_.get();
  }

 private:
  struct Free { void operator()(char* p) const { std::free(p); } };
  std::unique_ptr<char, Free> data_;
  size_t size_ = 0;
};

thread_local Scratch task_scratch, kernel_scratch;

// `many` independent convolutions of one shape, each cut along its batch into equal parts.
class Run {
 public:
  // `rows` [many, 2, O] (bias, alpha) and `shortcut` are for a fused problem.
  Run(ffi::ThreadPool& pool, const Problem& whole, int64_t many, char* a, char* b, char* out, float* rows = nullptr,
      char* shortcut = nullptr)
      : pool_(pool), whole_(whole), many_(many), a_(a), b_(b), out_(out), rows_(rows), shortcut_(shortcut) {
    parts_ = static_cast<int>(std::min(whole.n, std::max<int64_t>(1, (pool.num_threads() + many - 1) / many)));
    for (int i = 0; i < parts_; ++i) {
      Problem p = whole;
      p.n = start(i + 1) - start(i);
      problems_.push_back(p);
      primitives_.push_back(cache().get(p));
    }
  }

  void operator()() { whole_.kind == kKernelGradient ? kernel_gradient() : images(); }

 private:
  int64_t start(int i) const { return whole_.n * i / parts_; }
  const KernelLayout& layout() const { return *primitives_[0]->layout; }
  // From one of `many` kernels to the next, in oneDNN's layout, on a cache line of its own.
  size_t picked_bytes() const { return (primitives_[0]->kernel.get_size() + 63) / 64 * 64; }
  static memory wrap(const memory::desc& desc, char* data) { return memory(desc, engine(), data); }

  template <typename F>
  void each(int64_t n, F f) {
    parallel_for(pool_, static_cast<int>(n), [&](int i) {
      SingleThreaded single;
      f(i);
    });
  }

  void execute(int part, std::unordered_map<int, memory> arguments) {
    const Primitive& primitive = *primitives_[part];
    arguments.emplace(DNNL_ARG_SCRATCHPAD, wrap(primitive.scratch, task_scratch.get(primitive.scratch.get_size())));
    dnnl::stream s(engine());
    primitive.run.execute(s, arguments);
  }

  void images() {
    char* kernels = b_;
    size_t kernel_step = whole_.kernel_bytes();
    if (!layout().same()) {
      kernel_step = picked_bytes();
      kernels = kernel_scratch.get(kernel_step * many_);
      int pieces = layout().pieces();
      each(many_ * pieces, [&](int i) {
        int m = i / pieces;
        layout().run(i % pieces, b_ + m * whole_.kernel_bytes(), kernels + m * kernel_step);
      });
    }
    bool value = whole_.kind == kValue;
    size_t in_bytes = value ? whole_.x_bytes() : whole_.y_bytes(), out_bytes = value ? whole_.y_bytes() : whole_.x_bytes();
    each(many_ * parts_, [&](int i) {
      int m = i / parts_, part = i % parts_;
      const Problem& p = problems_[part];
      int64_t first = m * whole_.n + start(part);
      auto in = wrap(value ? p.x_desc() : p.y_desc(), a_ + first * in_bytes);
      auto out = wrap(value ? p.y_desc() : p.x_desc(), out_ + first * out_bytes);
      auto kernel = wrap(primitives_[part]->kernel, kernels + m * kernel_step);
      std::unordered_map<int, memory> arguments{{value ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST, in}, {DNNL_ARG_WEIGHTS, kernel},
                                                {value ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC, out}};
      if (p.fused) {
        char* row = reinterpret_cast<char*>(rows_ + m * 2 * p.o);
        int place = 0;  // in post_ops()
        arguments.emplace(DNNL_ARG_BIAS, wrap(p.row(), row));
        if (p.activation == kPrelu) {
          memory::desc alpha({1, p.o, 1, 1}, memory::data_type::f32, memory::format_tag::nchw);
          arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_WEIGHTS, wrap(alpha, row + p.o * sizeof(float)));
        }
        if (p.activation != kLinear) ++place;
        if (p.shortcut) {
          char* more = shortcut_ + first * out_bytes;
          arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(place) | DNNL_ARG_SRC_1, wrap(p.y_desc(), more));
        }
      }
      execute(part, std::move(arguments));
    });
  }

  void kernel_gradient() {
    size_t step = picked_bytes();
    // A single part in the right layout and type needs no detour.
    bool direct = layout().same() && parts_ == 1;
    char* sums = direct ? out_ : kernel_scratch.get(step * many_ * parts_);
    if (direct) step = whole_.kernel_bytes();
    each(many_ * parts_, [&](int i) {
      int m = i / parts_, part = i % parts_;
      const Problem& p = problems_[part];
      int64_t first = m * whole_.n + start(part);
      execute(part, {{DNNL_ARG_SRC, wrap(p.x_desc(), a_ + first * whole_.x_bytes())},
                     {DNNL_ARG_DIFF_DST, wrap(p.y_desc(), b_ + first * whole_.y_bytes())},
                     {DNNL_ARG_DIFF_WEIGHTS, wrap(primitives_[part]->kernel, sums + i * step)}});
    });
    if (direct) return;
    int pieces = layout().same() ? 1 : layout().pieces();
    int64_t count = primitives_[0]->kernel.get_size() / sizeof(float);
    int64_t slices = std::max<int64_t>(1, std::min<int64_t>(pool_.num_threads(), count / 4096));
    each(many_ * slices, [&](int i) {
      int64_t m = i / slices, slice = i % slices, from = count * slice / slices, to = count * (slice + 1) / slices;
      float* sum = reinterpret_cast<float*>(sums + m * parts_ * step);
      for (int part = 1; part < parts_; ++part) {
        const float* more = reinterpret_cast<const float*>(sums + (m * parts_ + part) * step);
        for (int64_t j = from; j < to; ++j) sum[j] += more[j];
      }
    });
    each(many_ * pieces, [&](int i) {
      int64_t m = i / pieces;
      char *plain = out_ + m * whole_.kernel_bytes(), *sum = sums + m * parts_ * step;
      if (layout().same()) std::memcpy(plain, sum, whole_.kernel_bytes());
      else layout().run(i % pieces, plain, sum);
    });
  }

  ffi::ThreadPool& pool_;
  const Problem& whole_;
  int64_t many_;
  int parts_;
  char *a_, *b_, *out_;
  float* rows_;
  char* shortcut_;
  std::vector<Problem> problems_;
  std::vector<PrimitivePtr> primitives_;
};

Problem problem(int64_t kind, ffi::AnyBuffer& a, ffi::AnyBuffer& b, ffi::AnyBuffer& out, ffi::Span<const int64_t> window,
                int64_t groups, int64_t bf16_math) {
  Problem p{};
  p.kind = kind;
  p.type = a.element_type() == ffi::BF16;
  p.bf16_math = bf16_math;
  p.groups = groups;
  auto input = [&](auto d) { p.n = d[1], p.h = d[2], p.w = d[3], p.c = d[4]; };
  auto output = [&](auto d) { p.n = d[1], p.oh = d[2], p.ow = d[3], p.o = d[4]; };
  auto kernel = [&](auto d) { p.kh = d[1], p.kw = d[2]; };
  if (kind == kValue) input(a.dimensions()), kernel(b.dimensions()), output(out.dimensions());
  if (kind == kInputGradient) output(a.dimensions()), kernel(b.dimensions()), input(out.dimensions());
  if (kind == kKernelGradient) input(a.dimensions()), output(b.dimensions()), kernel(out.dimensions());
  p.stride_h = window[0], p.stride_w = window[1], p.top = window[2], p.bottom = window[3], p.left = window[4];
  p.right = window[5], p.dilation_h = window[6], p.dilation_w = window[7];
  return p;
}

char* data(const ffi::AnyBuffer& buffer) { return static_cast<char*>(buffer.untyped_data()); }

// Runs what f makes, and turns what it throws into XLA's error.
template <typename F>
ffi::Error guarded(const Problem& p, F f) {
  try {
    f();
  } catch (const std::exception& e) {
    return ffi::Error::Internal(describe(p) + ": " + e.what());
  }
  return ffi::Error::Success();
}

ffi::Error Conv(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out, int64_t kind,
                ffi::Span<const int64_t> window, int64_t groups, int64_t bf16_math) {
  Problem p = problem(kind, a, b, *out, window, groups, bf16_math);
  if (a.element_count() == 0 || b.element_count() == 0) {
    std::memset(data(*out), 0, out->size_bytes());
    return ffi::Error::Success();
  }
  return guarded(p, [&] { Run(pool, p, a.dimensions()[0], data(a), data(b), data(*out))(); });
}

// act(conv(x, kernel) + bias) + shortcut, the shortcut being an optional fourth array.
ffi::Error ConvFused(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer kernel, ffi::AnyBuffer rows,
                     ffi::RemainingArgs rest, ffi::Result<ffi::AnyBuffer> out, ffi::Span<const int64_t> window,
                     int64_t groups, int64_t bf16_math, int64_t act) {
  Problem p = problem(kValue, x, kernel, *out, window, groups, bf16_math);
  p.fused = 1, p.activation = act, p.shortcut = rest.size() > 0;
  char* shortcut = p.shortcut ? data(rest.get<ffi::AnyBuffer>(0).value()) : nullptr;
  return guarded(p, [&] {
    Run(pool, p, x.dimensions()[0], data(x), data(kernel), data(*out), rows.typed_data<float>(), shortcut)();
  });
}

}  // namespace
}  // namespace jaxface

#pragma GCC visibility push(default)
namespace {
using Buffer = xla::ffi::AnyBuffer;
auto bind() { return xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>(); }
}  // namespace
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceConv, jaxface::Conv,
                              bind()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Ret<Buffer>()
                                  .Attr<int64_t>("kind")
                                  .Attr<xla::ffi::Span<const int64_t>>("window")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("bf16_math"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceConvFused, jaxface::ConvFused,
                              bind()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .RemainingArgs()
                                  .Ret<Buffer>()
                                  .Attr<xla::ffi::Span<const int64_t>>("window")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("bf16_math")
                                  .Attr<int64_t>("act"));
#pragma GCC visibility pop
