// Scratch memory of a thread, kept between calls up to a bound.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

namespace jaxface {

class Scratch {
 public:
  explicit Scratch(size_t bound) : bound_(bound) {}
  char* get(size_t bytes) {
    if (bytes > size_) {
      size_ = 0;
      data_.reset();
      data_.reset(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
      if (!data_) throw std::bad_alloc();
      size_ = bytes;
    }
    return data_.get();
  }
  // Called at the end of a call.
  void trim() {
    if (size_ <= bound_) return;
    data_.reset();
    size_ = 0;
  }

 private:
  struct Free { void operator()(char* p) const { std::free(p); } };
  std::unique_ptr<char, Free> data_;
  size_t size_ = 0, bound_;
};

}  // namespace jaxface
