// Small matrix products on vectors of kLanes floats, included once per instruction set (see local.cc).

// Unaligned load from a float array. As long as a register: GCC keeps longer vectors in memory, which was 30 times slower with AVX2.
typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vector& vector_at(float* p) { return *reinterpret_cast<Vector*>(p); }
inline const Vector& vector_at(const float* p) { return *reinterpret_cast<const Vector*>(p); }

// A tile of R rows and V vectors of `product`, kept in registers.
template <int R, int V>
inline void tile(float* c, int64_t c_row, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, int64_t n) {
  Vector sums[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sums[r][v] = vector_at(c + r * c_row + kLanes * v);
  for (int64_t t = 0; t < n; ++t, a += a_step, b += b_row) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[r][v] += a[r * a_row] * vector_at(b + kLanes * v);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) vector_at(c + r * c_row + kLanes * v) = sums[r][v];
}

template <int R>
inline void rows(float* c, int64_t c_row, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row,
                 int64_t wide, int64_t n) {
  int64_t w = 0;
  for (; w + 2 * kLanes <= wide; w += 2 * kLanes) tile<R, 2>(c + w, c_row, a, a_row, a_step, b + w, b_row, n);
  if (w < wide) tile<R, 1>(c + w, c_row, a, a_row, a_step, b + w, b_row, n);
}

template <int R>
inline void from_row(int64_t r, float* c, int64_t c_row, const float* a, int64_t a_row, int64_t a_step, const float* b,
                     int64_t b_row, int64_t count, int64_t wide, int64_t n) {
  for (; r + R <= count; r += R) rows<R>(c + r * c_row, c_row, a + r * a_row, a_row, a_step, b, b_row, wide, n);
  if constexpr (R > 1) from_row<R / 2>(r, c, c_row, a, a_row, a_step, b, b_row, count, wide, n);
}

// c[r][w] += Σ a[r · a_row + t · a_step] · b[t][w] over t < n, for r < count and w < wide, a multiple of 16.
void product(float* c, int64_t c_row, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, int64_t count,
             int64_t wide, int64_t n) {
  from_row<kRows>(0, c, c_row, a, a_row, a_step, b, b_row, count, wide, n);
}
