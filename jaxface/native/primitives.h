// Cache of oneDNN primitives for convolutions, one per problem.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "dnnl.hpp"
#include "problem.h"
#include "threads.h"

namespace jaxface {

// This and the cache are never destroyed: XLA's threads may still run when the process exits.
inline dnnl::engine& engine() {
  static dnnl::engine& e = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return e;
}

// A reorder of a kernel between HWIO and oneDNN's layout, in pieces along O that can run in parallel.
class KernelLayout {
 public:
  KernelLayout(const memory::desc& plain, const memory::desc& picked, bool inward, int64_t outputs, bool grouped)
      : inward_(inward), same_(plain == picked) {
    if (same_) return;
    // Pieces must be aligned to oneDNN's blocks, most of which are at most 64 outputs wide.
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
  memory::desc kernel;  // in oneDNN's layout
  memory::desc scratch;
  std::unique_ptr<KernelLayout> layout;
};

using PrimitivePtr = std::shared_ptr<const Primitive>;

inline PrimitivePtr make(const Problem& p) {
  using namespace dnnl;
  SingleThreaded single;
  primitive_attr attr;
  attr.set_scratchpad_mode(scratchpad_mode::user);
  if (p.bf16_math) attr.set_fpmath_mode(fpmath_mode::bf16);
  Dims strides{p.stride_h, p.stride_w}, dilations{p.dilation_h - 1, p.dilation_w - 1};
  Dims low{p.top, p.left}, high{p.bottom, p.right};
  auto x = p.x_desc(), y = p.y_desc();
  memory::desc kernel(p.kernel(), p.data_type(), memory::format_tag::any);
  // Partial sums of a kernel gradient are added before rounding.
  memory::desc exact_kernel(p.kernel(), memory::data_type::f32, memory::format_tag::any);
  auto algorithm = algorithm::convolution_direct;
  auto result = std::make_shared<Primitive>();
  auto keep = [&](auto run, const auto& desc, const memory::desc& kernel) {
    result->run = std::move(run);
    result->kernel = kernel;
    result->scratch = desc.scratchpad_desc();
    result->layout = std::make_unique<KernelLayout>(p.hwio(), kernel, p.kind != kKernelGradient, p.o, p.groups > 1);
  };
  auto forward = [&]() -> convolution_forward::primitive_desc {
    if (p.fused) {
      attr.set_post_ops(p.post_ops());
      return {engine(), prop_kind::forward_inference, algorithm, x, kernel, p.row(), y, strides, dilations, low, high, attr};
    }
    return {engine(), prop_kind::forward_training, algorithm, x, kernel, y, strides, dilations, low, high, attr};
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

// Least-recently-used cache of primitives, bounded because their code is large.
class Cache {
 public:
  // Disables oneDNN's own cache, which would keep a thousand more.
  Cache() { dnnl::set_primitive_cache_capacity(0); }
  PrimitivePtr get(const Problem& p) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto found = index_.find(p);
      if (found != index_.end()) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->second;
      }
    }
    auto made = make(p);  // slow, so outside of the lock; two threads may both create one
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

inline Cache& cache() {
  static Cache& c = *new Cache;
  return c;
}
}  // namespace jaxface
