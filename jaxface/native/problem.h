// The parameters that determine the oneDNN primitive of a convolution.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "activation.h"
#include "checks.h"
#include "dnnl.hpp"

namespace jaxface {

using dnnl::memory;
using Dims = memory::dims;

enum Kind : int64_t { kValue = 0, kInputGradient = 1, kKernelGradient = 2 };

// The arrays of a call. `x`, `kernel` and `y` are the arrays or their gradients.
struct Places {
  const Buffer &x, &kernel, &y;
};

inline Places places(int64_t kind, const Buffer& a, const Buffer& b, const Buffer& out) {
  if (kind < kValue || kind > kKernelGradient) throw WrongArray("there is no kind " + std::to_string(kind));
  const Places by_kind[] = {{a, b, out}, {out, b, a}, {a, out, b}};
  return by_kind[kind];
}

// Whether a call has nothing to sum: its result is then set to zero.
inline bool sums_nothing(const Buffer& a, const Buffer& b, Buffer& out) {
  if (a.element_count() && b.element_count() && out.element_count()) return false;
  if (out.element_count()) std::memset(out.untyped_data(), 0, out.size_bytes());
  return true;
}

// All parameters that determine the primitive, as a comparable key.
struct Problem {
  int64_t kind, type, bf16_math;
  int64_t fused, activation, shortcut;  // for values in inference: bias, activation, sum
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
  // One float32 number per output channel.
  memory::desc row() const { return {{o}, memory::data_type::f32, memory::format_tag::a}; }
  dnnl::post_ops post_ops() const {
    dnnl::post_ops after;
    if (activation == kPrelu) after.append_prelu(/*per channel*/ 1 << 1);
    if (activation == kRelu) after.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
    if (activation == kRelu6) after.append_eltwise(dnnl::algorithm::eltwise_clip, 0, 6);
    if (shortcut) after.append_binary(dnnl::algorithm::binary_add, y_desc());
    return after;
  }
  size_t x_bytes() const { return h * w * c * bytes(); }
  size_t y_bytes() const { return oh * ow * o * bytes(); }
  size_t kernel_bytes() const { return kh * kw * (c / groups) * o * bytes(); }
  // HWIO; the last axis contains the groups consecutively.
  memory::desc hwio() const {
    int64_t in = c / groups;
    if (groups == 1) return {kernel(), data_type(), Dims{1, o, kw * in * o, in * o}};
    return {kernel(), data_type(), Dims{o / groups, 1, o, kw * in * o, in * o}};
  }
};

// Description for messages.
inline std::string describe(const Problem& p) {
  auto row = [](Dims values) { return text(values); };
  const char* kinds[] = {"values", "input gradient", "kernel gradient"};
  return std::string("oneDNN convolution, ") + kinds[p.kind] + " of " + (p.type ? "bfloat16" : "float32") + " images " +
         row({p.n, p.h, p.w, p.c}) + ", kernel " + row({p.kh, p.kw, p.c / p.groups, p.o}) + ", strides " +
         row({p.stride_h, p.stride_w}) + ", pads " + row({p.top, p.bottom, p.left, p.right}) + ", dilation " +
         row({p.dilation_h, p.dilation_w}) + ", groups " + std::to_string(p.groups) + ", result " +
         row({p.n, p.oh, p.ow, p.o});
}
}  // namespace jaxface
