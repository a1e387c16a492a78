// Convolution by oneDNN for XLA's CPU backend: values, gradient of the input, gradient of the kernel.
//
// Images are NHWC and kernels HWIO, as XLA has them; the batch is cut into as many parts as there are threads.

#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "dnnl.hpp"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace jaxface {
namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using Dims = memory::dims;

enum Kind : int64_t { kValue = 0, kInputGradient = 1, kKernelGradient = 2 };

// Everything that decides which primitive is needed, in one comparable row.
struct Problem {
  int64_t kind, type, bf16_math, bias;
  int64_t n, h, w, c, kh, kw, o, oh, ow, groups;
  int64_t stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w;
  bool operator<(const Problem& other) const { return std::memcmp(this, &other, sizeof *this) < 0; }
  memory::data_type data_type() const { return type ? memory::data_type::bf16 : memory::data_type::f32; }
  size_t bytes() const { return type ? 2 : 4; }
  Dims x() const { return {n, c, h, w}; }
  Dims y() const { return {n, o, oh, ow}; }
  Dims kernel() const {
    if (groups == 1) return {o, c, kh, kw};
    return {groups, o / groups, c / groups, kh, kw};
  }
  memory::desc nhwc(const Dims& d) const { return {d, data_type(), memory::format_tag::nhwc}; }
  memory::desc x_desc() const { return nhwc(x()); }
  memory::desc y_desc() const { return nhwc(y()); }
  size_t x_bytes() const { return h * w * c * bytes(); }
  size_t y_bytes() const { return oh * ow * o * bytes(); }
  size_t kernel_bytes() const { return kh * kw * (c / groups) * o * bytes(); }
  // HWIO, whose last axis holds the groups side by side.
  memory::desc hwio() const {
    int64_t in = c / groups;
    if (groups == 1) return {kernel(), data_type(), Dims{1, o, kw * in * o, in * o}};
    return {kernel(), data_type(), Dims{o / groups, 1, o, kw * in * o, in * o}};
  }
};

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

// A reorder of a kernel between HWIO and the layout that oneDNN picked, in pieces along O that can go in parallel.
class KernelLayout {
 public:
  KernelLayout(const memory::desc& plain, const memory::desc& picked, bool inward, int64_t outputs, bool grouped)
      : inward_(inward), same_(plain == picked) {
    if (same_) return;
    // Pieces must fall on the edges of oneDNN's blocks, most of which are at most 64 outputs wide.
    if (grouped || outputs % 64 || !cut(plain, picked, 64)) pieces_ = {{plain, picked, inward ? make(plain, picked) : make(picked, plain)}};
  }
  bool same() const { return same_; }
  int pieces() const { return static_cast<int>(pieces_.size()); }
  void run(int i, char* plain, char* picked) const {
    const Piece& piece = pieces_[i];
    memory p(piece.plain, engine(), plain), q(piece.picked, engine(), picked);
    dnnl::stream s(engine());
    inward_ ? piece.move.execute(s, {{DNNL_ARG_FROM, p}, {DNNL_ARG_TO, q}})
            : piece.move.execute(s, {{DNNL_ARG_FROM, q}, {DNNL_ARG_TO, p}});
  }

 private:
  struct Piece {
    memory::desc plain, picked;
    dnnl::reorder move;
  };
  bool cut(const memory::desc& plain, const memory::desc& picked, int64_t step) {
    pieces_.clear();
    Dims size = plain.get_dims(), from(size.size(), 0);
    int64_t all = size[0];
    size[0] = step;
    for (; from[0] < all; from[0] += step) {
      memory::desc p = plain.submemory_desc(size, from, /*allow_empty=*/true);
      memory::desc q = picked.submemory_desc(size, from, /*allow_empty=*/true);
      if (!p.get(true) || !q.get(true)) return false;
      pieces_.push_back({p, q, inward_ ? make(p, q) : make(q, p)});
    }
    return true;
  }
  static dnnl::reorder make(const memory::desc& from, const memory::desc& to) {
    return dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to));
  }
  bool inward_, same_;
  std::vector<Piece> pieces_;
};

struct Primitive {
  dnnl::primitive run;
  memory::desc kernel;  // as oneDNN wants it
  memory::desc scratch;
  std::unique_ptr<KernelLayout> layout;
};

using PrimitivePtr = std::shared_ptr<const Primitive>;

PrimitivePtr make(const Problem& p) {
  using namespace dnnl;
  SingleThreaded single;
  primitive_attr attr;
  attr.set_scratchpad_mode(scratchpad_mode::user);
  if (p.bf16_math) attr.set_fpmath_mode(fpmath_mode::bf16);
  Dims strides{p.stride_h, p.stride_w}, dilations{p.dilation_h - 1, p.dilation_w - 1};
  Dims low{p.top, p.left}, high{p.bottom, p.right};
  auto x = p.x_desc(), y = p.y_desc();
  memory::desc kernel(p.kernel(), p.data_type(), memory::format_tag::any);
  // Parts of a kernel's gradient are summed before they are rounded.
  memory::desc exact_kernel(p.kernel(), memory::data_type::f32, memory::format_tag::any);
  memory::desc bias({p.o}, p.data_type(), memory::format_tag::a);
  auto algorithm = algorithm::convolution_direct;
  auto forward_kind = p.bias ? prop_kind::forward_inference : prop_kind::forward_training;
  auto result = std::make_shared<Primitive>();
  auto keep = [&](auto run, const auto& desc, const memory::desc& kernel) {
    result->run = std::move(run);
    result->kernel = kernel;
    result->scratch = desc.scratchpad_desc();
    result->layout = std::make_unique<KernelLayout>(p.hwio(), kernel, p.kind != kKernelGradient, p.o, p.groups > 1);
  };
  auto forward = [&]() -> convolution_forward::primitive_desc {
    if (p.bias) return {engine(), forward_kind, algorithm, x, kernel, bias, y, strides, dilations, low, high, attr};
    return {engine(), forward_kind, algorithm, x, kernel, y, strides, dilations, low, high, attr};
  };
  if (p.kind == kValue) {
    auto desc = forward();
    keep(convolution_forward(desc), desc, desc.weights_desc());
  } else if (p.kind == kInputGradient) {
    convolution_backward_data::primitive_desc desc(
        engine(), algorithm, x, kernel, y, strides, dilations, low, high, forward(), attr);
    keep(convolution_backward_data(desc), desc, desc.weights_desc());
  } else {
    convolution_backward_weights::primitive_desc desc(
        engine(), algorithm, x, exact_kernel, y, strides, dilations, low, high, forward(), attr);
    keep(convolution_backward_weights(desc), desc, desc.diff_weights_desc());
  }
  return result;
}

// The primitives used last. Their code is large: the oldest goes when a new one would be too many.
class Cache {
 public:
  PrimitivePtr get(const Problem& p) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto found = index_.find(p);
      if (found != index_.end()) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->second;
      }
    }
    auto made = make(p);  // slow: outside of the lock; two threads may both make one
    std::lock_guard<std::mutex> lock(mutex_);
    if (index_.count(p)) return made;
    order_.emplace_front(p, made);
    index_[p] = order_.begin();
    if (order_.size() > kCapacity) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return made;
  }

 private:
  static constexpr size_t kCapacity = 512;
  std::mutex mutex_;
  std::list<std::pair<Problem, PrimitivePtr>> order_;
  std::map<Problem, decltype(order_)::iterator> index_;
};

Cache& cache() {
  static Cache c;
  return c;
}

std::string describe(const Problem& p) {
  auto row = [](std::initializer_list<int64_t> values) {
    std::string text;
    for (int64_t v : values) text += (text.empty() ? "[" : ", ") + std::to_string(v);
    return text + "]";
  };
  const char* kinds[] = {"values", "input gradient", "kernel gradient"};
  return std::string("oneDNN convolution, ") + kinds[p.kind] + " of " + (p.type ? "bfloat16" : "float32") + " images " +
         row({p.n, p.h, p.w, p.c}) + ", kernel " + row({p.kh, p.kw, p.c / p.groups, p.o}) + ", strides " +
         row({p.stride_h, p.stride_w}) + ", pads " + row({p.top, p.bottom, p.left, p.right}) + ", dilation " +
         row({p.dilation_h, p.dilation_w}) + ", groups " + std::to_string(p.groups) + ", result " +
         row({p.n, p.oh, p.ow, p.o});
}

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
  Run(ffi::ThreadPool& pool, const Problem& whole, int64_t many, char* a, char* b, char* out)
      : pool_(pool), whole_(whole), many_(many), a_(a), b_(b), out_(out) {
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
      execute(part, {{value ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST, in}, {DNNL_ARG_WEIGHTS, kernel},
                     {value ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC, out}});
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
  std::vector<Problem> problems_;
  std::vector<PrimitivePtr> primitives_;
};

ffi::Error Conv(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out, int64_t kind,
                ffi::Span<const int64_t> window, int64_t groups, int64_t bf16_math) {
  Problem p{};
  p.kind = kind;
  p.type = a.element_type() == ffi::BF16;
  p.bf16_math = bf16_math;
  p.groups = groups;
  auto input = [&](auto d) { p.n = d[1], p.h = d[2], p.w = d[3], p.c = d[4]; };
  auto output = [&](auto d) { p.n = d[1], p.oh = d[2], p.ow = d[3], p.o = d[4]; };
  auto kernel = [&](auto d) { p.kh = d[1], p.kw = d[2]; };
  if (kind == kValue) input(a.dimensions()), kernel(b.dimensions()), output(out->dimensions());
  if (kind == kInputGradient) output(a.dimensions()), kernel(b.dimensions()), input(out->dimensions());
  if (kind == kKernelGradient) input(a.dimensions()), output(b.dimensions()), kernel(out->dimensions());
  p.stride_h = window[0], p.stride_w = window[1], p.top = window[2], p.bottom = window[3], p.left = window[4];
  p.right = window[5], p.dilation_h = window[6], p.dilation_w = window[7];
  auto data = [](auto& buffer) { return static_cast<char*>(buffer.untyped_data()); };
  if (a.element_count() == 0 || b.element_count() == 0) {
    std::memset(data(*out), 0, out->size_bytes());
    return ffi::Error::Success();
  }
  try {
    Run(pool, p, a.dimensions()[0], data(a), data(b), data(*out))();
  } catch (const std::exception& e) {
    return ffi::Error::Internal(describe(p) + ": " + e.what());
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxface

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxfaceConv, jaxface::Conv,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("kind")
                                  .Attr<xla::ffi::Span<const int64_t>>("window")
                                  .Attr<int64_t>("groups")
                                  .Attr<int64_t>("bf16_math"));
#pragma GCC visibility pop
