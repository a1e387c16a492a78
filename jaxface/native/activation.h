// Activations of the handlers, with the codes of jaxface/layers/norm_native.py.
#pragma once

#include <cstdint>

namespace jaxface {

enum Activation : int64_t { kLinear = 0, kPrelu = 1, kRelu = 2, kRelu6 = 3 };

}  // namespace jaxface
