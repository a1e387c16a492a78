// Loops over channels-last rows, included once per instruction set (see norm.cc): the compiler vectorises them over c.

// NaN is propagated: a diverged network must not appear finite.
template <int64_t act>
inline float activate(float z, float alpha) {
  float sloped = alpha * z;
  if (act == kPrelu) return z >= 0 ? z : sloped;
  if (act == kRelu) return z < 0 ? 0 : z;
  if (act == kRelu6) return z < 0 ? 0 : (z > 6 ? 6 : z);
  return z;
}

// Gradient with respect to z, given the gradient with respect to the activation's result.
template <int64_t act>
inline float before_activation(float dy, float z, float alpha) {
  float sloped = alpha * dy;
  if (act == kPrelu) return z >= 0 ? dy : sloped;
  if (act == kRelu) return z > 0 ? dy : 0;
  if (act == kRelu6) return z > 0 && z < 6 ? dy : 0;
  return dy;
}

// Number of rows after which float sums are added to double sums, to limit rounding errors.
constexpr int64_t kRun = 128;

// Adds Σx to sum[0][c] and Σx² to sum[1][c]. In float, the first row of each run is subtracted: this preserves the
// precision of an array with a large offset or an outlier.
template <typename T>
void moments(const T* x, int64_t rows, int64_t channels, double* sum, float* run) {
  float *s = run, *q = run + channels, *shift = run + 2 * channels;
  for (int64_t from = 0; from < rows; from += kRun) {
    std::fill(run, run + 2 * channels, 0.f);
    for (int64_t c = 0; c < channels; ++c) shift[c] = load(x + from * channels + c);
    int64_t to = std::min(rows, from + kRun);
    for (int64_t r = from; r < to; ++r) {
      const T* row = x + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        float d = load(row + c) - shift[c];
        s[c] += d;
        q[c] += d * d;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      double first = shift[c], rest = s[c], count = to - from;
      sum[c] += rest + count * first;
      sum[c + channels] += q[c] + first * (2 * rest + count * first);
    }
  }
}

// y = act(slope·x + offset) + more; `more` is optional.
template <typename T, int64_t act>
void apply(const T* x, const T* more, int64_t rows, int64_t channels, const float* k, T* y) {
  const float *slope = k, *offset = k + channels, *alpha = k + 2 * channels;
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    if (more) {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c)
        store(y + c, activate<act>(slope[c] * load(x + c) + offset[c], alpha[c]) + load(more + c));
      more += channels;
    } else {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) store(y + c, activate<act>(slope[c] * load(x + c) + offset[c], alpha[c]));
    }
  }
}

// With z = slope·x + offset and dz the gradient there: adds Σ dz, Σ dz·(x − mean) and the gradient of alpha.
template <typename T, int64_t act>
void sums(const T* x, const T* dy, int64_t rows, int64_t channels, const float* k, double* sum, float* run) {
  const float *slope = k, *offset = k + channels, *alpha = k + 2 * channels, *mean = k + 3 * channels;
  float *a = run, *b = run + channels, *d = run + 2 * channels;
  for (int64_t from = 0; from < rows; from += kRun) {
    std::fill(run, run + 3 * channels, 0.f);
    for (int64_t r = from; r < std::min(rows, from + kRun); ++r) {
      const T *xr = x + r * channels, *dyr = dy + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        float value = load(xr + c), g = load(dyr + c), z = slope[c] * value + offset[c];
        float dz = before_activation<act>(g, z, alpha[c]);
        a[c] += dz;
        b[c] += dz * (value - mean[c]);
        float gz = g * z;
        if (act == kPrelu) d[c] += z >= 0 ? 0 : gz;
      }
    }
    for (int64_t c = 0; c < 3 * channels; ++c) sum[c] += run[c];
  }
}

// dx = p·dz + q·(x − mean) + t.
template <typename T, int64_t act>
void input_gradient(const T* x, const T* dy, int64_t rows, int64_t channels, const float* k, T* dx) {
  const float *slope = k, *offset = k + channels, *alpha = k + 2 * channels, *mean = k + 3 * channels;
  const float *p = k + 4 * channels, *q = k + 5 * channels, *t = k + 6 * channels;
  for (int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      float value = load(x + c), z = slope[c] * value + offset[c];
      store(dx + c, p[c] * before_activation<act>(load(dy + c), z, alpha[c]) + q[c] * (value - mean[c]) + t[c]);
    }
  }
}

template <typename T, int64_t act>
Loops<T> loops_with() {
  return {moments<T>, apply<T, act>, sums<T, act>, input_gradient<T, act>};
}

template <typename T>
Loops<T> loops(int64_t act) {
  if (act == kPrelu) return loops_with<T, kPrelu>();
  if (act == kRelu) return loops_with<T, kRelu>();
  if (act == kRelu6) return loops_with<T, kRelu6>();
  return loops_with<T, kLinear>();
}
