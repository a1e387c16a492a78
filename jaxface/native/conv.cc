// Convolution by oneDNN for XLA's CPU backend: values, gradient of the input, gradient of the kernel.
//
// Images are NHWC and kernels HWIO, as in XLA; the batch is split into as many parts as there are threads.

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "checks.h"
#include "dnnl.hpp"
#include "primitives.h"
#include "problem.h"
#include "scratch.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxface {
namespace {

namespace ffi = xla::ffi;

// Buffer of each pool thread and each calling thread: partial sums of the kernel gradient.
thread_local Scratch task_scratch(32 << 20), kernel_scratch(256 << 20);

// `many` independent convolutions of one shape, each split along its batch into equal parts.
class Run {
 public:
  // `b` contains `kernels` kernels: `many`, or 1 if all share one. `rows` [row_sets, 2, O] (bias, alpha) and `shortcut` are
  // for a fused problem.
  Run(ffi::ThreadPool& pool, const Problem& whole, int64_t many, char* a, char* b, int64_t kernels, char* out,
      float* rows = nullptr, int64_t row_sets = 1, char* shortcut = nullptr)
      : pool_(pool), whole_(whole), many_(many), kernels_(kernels), row_sets_(row_sets), a_(a), b_(b), out_(out),
        rows_(rows), shortcut_(shortcut) {
    cut(std::min(whole.n, std::max<int64_t>(1, (pool.num_threads() + many - 1) / many)));
    // All parts share one copy of a kernel: do not split if oneDNN uses another kernel layout for one more image.
    auto differs = [&](const PrimitivePtr& one) { return one->kernel != primitives_[0]->kernel; };
    if (std::any_of(primitives_.begin(), primitives_.end(), differs)) cut(1);
  }

  void operator()() {
    whole_.kind == kKernelGradient ? kernel_gradient() : images();
    kernel_scratch.trim();
  }

 private:
  void cut(int64_t parts) {
    parts_ = static_cast<int>(parts);
    problems_.clear(), primitives_.clear();
    for (int i = 0; i < parts_; ++i) {
      Problem p = whole_;
      p.n = start(i + 1) - start(i);
      problems_.push_back(p);
      primitives_.push_back(cache().get(p));
    }
  }
  int64_t start(int i) const { return whole_.n * i / parts_; }
  const KernelLayout& layout() const { return *primitives_[0]->layout; }
  // Stride between kernels in oneDNN's layout, rounded up to cache lines.
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
    task_scratch.trim();
  }

  void images() {
    char* kernels = b_;
    size_t kernel_step = whole_.kernel_bytes();
    if (!layout().same()) {
      kernel_step = picked_bytes();
      kernels = kernel_scratch.get(kernel_step * kernels_);
      int pieces = layout().pieces();
      each(kernels_ * pieces, [&](int i) {
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
      auto kernel = wrap(primitives_[part]->kernel, kernels + m % kernels_ * kernel_step);
      std::unordered_map<int, memory> arguments{{value ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST, in}, {DNNL_ARG_WEIGHTS, kernel},
                                                {value ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC, out}};
      if (p.fused) {
        char* row = reinterpret_cast<char*>(rows_ + m % row_sets_ * 2 * p.o);
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
    // A single part in the right layout and type is written directly.
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
  int64_t many_, kernels_, row_sets_;
  int parts_;
  char *a_, *b_, *out_;
  float* rows_;
  char* shortcut_;
  std::vector<Problem> problems_;
  std::vector<PrimitivePtr> primitives_;
};

// Throws WrongArray if the arrays do not match; oneDNN checks that the window gives a result of this shape.
Problem problem(int64_t kind, const Places& at, ffi::Span<const int64_t> window, int64_t groups, int64_t bf16_math) {
  check_rank("images", at.x, 5), check_rank("kernel", at.kernel, 5), check_rank("result", at.y, 5);
  auto x = at.x.dimensions(), k = at.kernel.dimensions(), y = at.y.dimensions();
  Problem p{};
  p.kind = kind, p.groups = groups, p.bf16_math = bf16_math;
  p.n = x[1], p.h = x[2], p.w = x[3], p.c = x[4], p.kh = k[1], p.kw = k[2], p.oh = y[2], p.ow = y[3], p.o = y[4];
  if (window.size() != 8) throw WrongArray("window is " + text(window) + ": takes strides, pads and dilation, 8 numbers");
  p.stride_h = window[0], p.stride_w = window[1], p.top = window[2], p.bottom = window[3], p.left = window[4];
  p.right = window[5], p.dilation_h = window[6], p.dilation_w = window[7];
  if (std::min({p.stride_h, p.stride_w, p.dilation_h, p.dilation_w}) < 1 || std::min({p.top, p.bottom, p.left, p.right}) < 0) {
    throw WrongArray("window is " + text(window) + ": takes strides and dilation from 1, pads from 0");
  }
  if (groups < 1 || p.c % groups || p.o % groups) {
    throw WrongArray(std::to_string(groups) + " groups do not divide images " + text(x) + " and result " + text(y));
  }
  check_shape("result", at.y, {x[0], p.n, p.oh, p.ow, p.o});
  check_shared("kernel", at.kernel, x[0], {p.kh, p.kw, p.c / groups, p.o});
  auto type = float_type("images", at.x);
  check_type("kernel", at.kernel, type), check_type("result", at.y, type);
  p.type = type == ffi::BF16;
  return p;
}

// Runs f and converts exceptions to XLA errors, with the description of the problem.
template <typename F>
ffi::Error guarded(F f) {
  Problem p{};
  p.groups = 1;
  return reported("oneDNN convolution", [&] { return describe(p); }, [&] { f(p); });
}

ffi::Error Conv(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, Result out, int64_t kind,
                ffi::Span<const int64_t> window, int64_t groups, int64_t bf16_math) {
  return guarded([&](Problem& p) {
    p = problem(kind, places(kind, a, b, *out), window, groups, bf16_math);
    int64_t many = a.dimensions()[0];
    if (kind == kKernelGradient) check_shape("kernel", *out, {many, p.kh, p.kw, p.c / groups, p.o});
    if (sums_nothing(a, b, *out)) return;
    Run(pool, p, many, data<char>(a), data<char>(b), b.dimensions()[0], data<char>(*out))();
  });
}

// act(conv(x, kernel) + bias) + shortcut; the shortcut is an optional fourth array.
ffi::Error ConvFused(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer kernel, ffi::AnyBuffer rows,
                     ffi::RemainingArgs rest, Result out, ffi::Span<const int64_t> window,
                     int64_t groups, int64_t bf16_math, int64_t act) {
  return guarded([&](Problem& p) {
    p = problem(kValue, {x, kernel, *out}, window, groups, bf16_math);
    p.fused = 1, p.activation = act, p.shortcut = rest.size() > 0;
    auto y = out->dimensions();
    check_shared("bias and slopes", rows, y[0], {2, p.o}), check_type("bias and slopes", rows, ffi::F32);
    char* shortcut = nullptr;
    if (p.shortcut) {
      auto more = rest.get<ffi::AnyBuffer>(0).value();
      check_shape("shortcut", more, {y[0], y[1], y[2], y[3], y[4]}), check_type("shortcut", more, out->element_type());
      shortcut = data<char>(more);
    }
    if (out->element_count() == 0) return;
    if (p.c == 0) throw WrongArray("images " + text(x.dimensions()) + " have no channels");
    Run(pool, p, y[0], data<char>(x), data<char>(kernel), kernel.dimensions()[0], data<char>(*out), rows.typed_data<float>(),
        rows.dimensions()[0], shortcut)();
  });
}

}  // namespace
}  // namespace jaxface

#pragma GCC visibility push(default)
using jaxface::Buffer;
using jaxface::bind;
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
