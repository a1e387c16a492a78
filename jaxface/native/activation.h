// The activations that the handlers know, by the numbers that jaxface/layers/norm_native.py gives them.
#pragma once

#include <cstdint>

namespace jaxface {

enum Activation : int64_t { kLinear = 0, kPrelu = 1, kRelu = 2, kRelu6 = 3 };

}  // namespace jaxface
