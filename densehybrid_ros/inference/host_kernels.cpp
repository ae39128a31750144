// The pass after the network on a CPU: a result row at a time, so that no full-size K-channel tensor ever exists.
// Compiled by host_kernels.py with the machine's C++ compiler. Plain C types only, so that no header of PyTorch is needed.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// exp and log of float as polynomials (after Cephes), because loops over the library's functions do not vectorise.
inline float exp_of(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float n = std::floor(x * 1.44269504f + 0.5f);
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

// For normal numbers above 0; what is not finite stays so.
inline float log_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    // Mantissa in [sqrt(1/2), sqrt(2)).
    const int32_t exponent = (bits - 0x3f3504f3) >> 23;
    bits -= exponent * (1 << 23);
    float m;
    std::memcpy(&m, &bits, sizeof m);
    const float f = m - 1.0f, z = f * f, e = static_cast<float>(exponent);
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * z + e * -2.12194440e-4f - 0.5f * z;
    const float result = f + p + e * 0.693359375f;
    return x - x == 0.0f ? result : x;
}

struct Positions {
    int64_t lower, upper;
    float weight;  // of the upper one
};

inline Positions positions(int64_t pixel, float scale, float offset, int64_t count) {
    float at = static_cast<float>(pixel) * scale + offset;
    at = at < 0.0f ? 0.0f : at;
    const float last = static_cast<float>(count - 1);
    at = at > last ? last : at;
    const int64_t lower = static_cast<int64_t>(at);
    return {lower, lower + 1 < count ? lower + 1 : lower, at - static_cast<float>(lower)};
}

}  // namespace

extern "C" void dense_output_rows(
    const float* logits,     // [classes, in_rows, in_columns]
    const float* posterior,  // [2, in_rows, in_columns]
    int64_t classes, int64_t in_rows, int64_t in_columns,
    int64_t columns, int64_t first_row, int64_t end_row,   // of the result: its width and the rows to make
    float scale_y, float offset_y, float scale_x, float offset_x,
    float threshold, float midpoint, float scale,
    uint8_t* semantic, float* score, uint8_t* open_set, uint8_t* confidence,  // [rows, columns] each
    uint8_t* not_finite) {  // one byte, set where a score is not finite
    const int64_t channels = classes + 2, plane = in_rows * in_columns;
    std::vector<float> low(in_columns), high(channels * columns), weight(columns), best(columns), sum(columns);
    std::vector<int32_t> left(columns), right(columns), best_class(columns);
    for (int64_t x = 0; x < columns; ++x) {
        const Positions at = positions(x, scale_x, offset_x, in_columns);
        left[x] = static_cast<int32_t>(at.lower);
        right[x] = static_cast<int32_t>(at.upper);
        weight[x] = at.weight;
    }
    int32_t bad = 0;
    for (int64_t y = first_row; y < end_row; ++y) {
        const Positions row = positions(y, scale_y, offset_y, in_rows);
        for (int64_t c = 0; c < channels; ++c) {
            const float* map = c < classes ? logits + c * plane : posterior + (c - classes) * plane;
            const float *upper = map + row.lower * in_columns, *lower = map + row.upper * in_columns;
            for (int64_t x = 0; x < in_columns; ++x) low[x] = upper[x] + row.weight * (lower[x] - upper[x]);
            float* wide = high.data() + c * columns;
            const float* source = low.data();
            for (int64_t x = 0; x < columns; ++x)
                wide[x] = source[left[x]] + weight[x] * (source[right[x]] - source[left[x]]);
        }
        float *top = best.data(), *total = sum.data();
        int32_t* id = best_class.data();
        for (int64_t x = 0; x < columns; ++x) top[x] = high[x], id[x] = 0;
        for (int64_t c = 1; c < classes; ++c) {
            const float* wide = high.data() + c * columns;
            for (int64_t x = 0; x < columns; ++x) {
                id[x] = wide[x] > top[x] ? static_cast<int32_t>(c) : id[x];
                top[x] = wide[x] > top[x] ? wide[x] : top[x];
            }
        }
        for (int64_t x = 0; x < columns; ++x) total[x] = 0.0f;
        for (int64_t c = 0; c < classes; ++c) {
            const float* wide = high.data() + c * columns;
            for (int64_t x = 0; x < columns; ++x) total[x] += exp_of(wide[x] - top[x]);
        }
        const float *inlier = high.data() + classes * columns, *outlier = inlier + columns;
        const int64_t at = y * columns;
        float* s = score + at;
        for (int64_t x = 0; x < columns; ++x) {
            // ln P(d_out|x) = -ln(1 + exp(d)), in the form that does not overflow.
            const float d = inlier[x] - outlier[x];
            const float log_outlier = -(d > 0.0f ? d : 0.0f) - log_of(1.0f + exp_of(-std::fabs(d)));
            s[x] = log_outlier - (top[x] + log_of(total[x]));
            bad |= s[x] - s[x] != 0.0f;  // NaN and infinity
        }
        for (int64_t x = 0; x < columns; ++x) {
            semantic[at + x] = static_cast<uint8_t>(id[x]);
            open_set[at + x] = static_cast<uint8_t>(s[x] > threshold ? static_cast<int32_t>(classes) : id[x]);
            const float probability = 1.0f / (1.0f + exp_of(-(s[x] - midpoint) / scale));
            confidence[at + x] = static_cast<uint8_t>(255.0f * probability + 0.5f);
        }
    }
    if (bad) *not_finite = 1;
}
