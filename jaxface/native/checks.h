// Checks of the handlers' arrays, which raise an error with the shapes before any memory is read, and conversion of
// exceptions to XLA errors.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "xla/ffi/api/ffi.h"

namespace jaxface {

// A shape or a list of numbers, for messages.
template <typename Values>
std::string text(const Values& values) {
  std::string all;
  for (int64_t v : values) all += (all.empty() ? "[" : ", ") + std::to_string(v);
  return all.empty() ? "[]" : all + "]";
}

struct WrongArray : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline bool has_shape(const xla::ffi::AnyBuffer& array, std::initializer_list<int64_t> shape) {
  auto d = array.dimensions();
  return d.size() == shape.size() && std::equal(d.begin(), d.end(), shape.begin());
}

inline void check_rank(const char* name, const xla::ffi::AnyBuffer& array, size_t rank) {
  auto d = array.dimensions();
  if (d.size() != rank) throw WrongArray(std::string(name) + " is " + text(d) + ": takes " + std::to_string(rank) + " axes");
}

inline void check_shape(const char* name, const xla::ffi::AnyBuffer& array, std::initializer_list<int64_t> shape) {
  if (!has_shape(array, shape)) throw WrongArray(std::string(name) + " is " + text(array.dimensions()) + ": takes " + text(shape));
}

// Parameter arrays have `many` entries, or one that is shared.
inline int64_t check_shared(const char* name, const xla::ffi::AnyBuffer& array, int64_t many, std::initializer_list<int64_t> own) {
  auto d = array.dimensions();
  bool fits = d.size() == own.size() + 1 && (d[0] == many || d[0] == 1) && std::equal(own.begin(), own.end(), d.begin() + 1);
  if (!fits) throw WrongArray(std::string(name) + " is " + text(d) + ": takes " + text(own) + ", 1 or " + std::to_string(many) + " of them");
  return d[0];
}

inline void check_type(const char* name, const xla::ffi::AnyBuffer& array, xla::ffi::DataType type) {
  if (array.element_type() != type) throw WrongArray(std::string(name) + " is of another type than " + (type == xla::ffi::F32 ? "float32" : "bfloat16"));
}

// The element type of a call's arrays, float32 or bfloat16.
inline xla::ffi::DataType float_type(const char* name, const xla::ffi::AnyBuffer& array) {
  auto type = array.element_type();
  if (type != xla::ffi::F32 && type != xla::ffi::BF16) throw WrongArray(std::string(name) + " is neither float32 nor bfloat16");
  return type;
}

// Runs f and converts exceptions to XLA errors: prefixed with `name` for a wrong array, else with `describe()`.
template <typename Describe, typename F>
xla::ffi::Error reported(const std::string& name, Describe describe, F f) {
  try {
    f();
  } catch (const WrongArray& e) {
    return xla::ffi::Error::InvalidArgument(name + ": " + e.what());
  } catch (const std::exception& e) {
    return xla::ffi::Error::Internal(describe() + ": " + e.what());
  }
  return xla::ffi::Error::Success();
}

using Buffer = xla::ffi::AnyBuffer;
using Result = xla::ffi::Result<Buffer>;

template <typename T>
T* data(const Buffer& buffer) {
  return static_cast<T*>(buffer.untyped_data());
}

// Common beginning of all handler signatures.
inline auto bind() { return xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>(); }

}  // namespace jaxface
