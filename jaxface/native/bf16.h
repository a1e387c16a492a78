// Access to float or bfloat16 arrays as floats.
#pragma once

#include <cstdint>
#include <cstring>

namespace jaxface {

// Storage format of bfloat16, as in XLA.
struct Bf16 {
  uint16_t bits;
};

inline float load(const float* p) { return *p; }
inline float load(const Bf16* p) {
  uint32_t wide = uint32_t{p->bits} << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}
inline void store(float* p, float x) { *p = x; }
// Rounds to nearest, ties to even; NaN stays NaN.
inline void store(Bf16* p, float x) {
  uint32_t wide;
  std::memcpy(&wide, &x, sizeof wide);
  uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  p->bits = static_cast<uint16_t>(x == x ? rounded : (wide >> 16) | 0x40);
}

}  // namespace jaxface
