/* The arithmetic of one decoder layer for processors with AVX2 or AVX-512, on a few threads.
 *
 * Weights stay on the grid that their file has: whole numbers of 4 or 8 bits, with a scale and a
 * minimum for each group of 16 or 32 inputs. Activations are rounded to 14 bits by group, in two
 * parts of 7 bits, so that a product is whole numbers within a group (`vpdpbusd`, or two
 * instructions of AVX2) and float32 between groups. A row's result depends on that row alone, to
 * the bit: not on the other rows, nor on the number of threads.
 *
 * Python owns all memory but the scratch; shapes are checked there. Calls may come from any thread
 * and wait for each other. Decides nothing about layers, blocks or texts.
 */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* --- vectors --- */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) &&                      \
    defined(__AVX512VNNI__)
enum { LANES = 16 };
typedef __m512 floats;
typedef __m512i ints;
#define load_floats _mm512_loadu_ps
#define store_floats _mm512_storeu_ps
#define every _mm512_set1_ps
#define add _mm512_add_ps
#define subtract _mm512_sub_ps
#define multiply _mm512_mul_ps
#define divide _mm512_div_ps
#define multiply_add _mm512_fmadd_ps
#define smaller _mm512_min_ps
#define larger _mm512_max_ps
#define nearest(x) _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define times_power_of_2(x, n) _mm512_scalef_ps(x, n)
#define sum_of _mm512_reduce_add_ps
#define largest_of _mm512_reduce_max_ps
#define load_halves(p) _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(p)))
#define store_halves(p, x) _mm256_storeu_si256((void *)(p), _mm512_cvtps_ph(x, 0))
#define load_bytes(p) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(p))))
#define load_ints(p) _mm512_loadu_si512(p)
#define store_bytes(p, x) _mm_storeu_si128((void *)(p), _mm512_cvtepi32_epi8(x))
#define no_ints _mm512_setzero_si512
#define add_ints _mm512_add_epi32
#define subtract_ints _mm512_sub_epi32
#define shift_left _mm512_slli_epi32
#define shift_right _mm512_srai_epi32
#define every_int _mm512_set1_epi32
#define round_to_ints _mm512_cvtps_epi32
#define to_floats _mm512_cvtepi32_ps
#define size_of(x) _mm512_abs_ps(x)
#define low_halves(x) _mm512_and_si512(x, _mm512_set1_epi8(15))
#define high_halves(x) _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15))
#define add_products(sum, unsigned_bytes, signed_bytes)                                            \
    _mm512_dpbusd_epi32(sum, unsigned_bytes, signed_bytes)
/* Products of 4 bits might be summed in less than 32 bits; here there is nothing to gain. */
#define add_small_products add_products
#define widen(x) (x)
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
enum { LANES = 8 };
typedef __m256 floats;
typedef __m256i ints;
#define load_floats _mm256_loadu_ps
#define store_floats _mm256_storeu_ps
#define every _mm256_set1_ps
#define add _mm256_add_ps
#define subtract _mm256_sub_ps
#define multiply _mm256_mul_ps
#define divide _mm256_div_ps
#define multiply_add _mm256_fmadd_ps
#define smaller _mm256_min_ps
#define larger _mm256_max_ps
#define nearest(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define load_halves(p) _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p)))
#define store_halves(p, x) _mm_storeu_si128((void *)(p), _mm256_cvtps_ph(x, 0))
#define load_bytes(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(p))))
#define load_ints(p) _mm256_loadu_si256((const void *)(p))
#define no_ints _mm256_setzero_si256
#define add_ints _mm256_add_epi32
#define subtract_ints _mm256_sub_epi32
#define shift_left _mm256_slli_epi32
#define shift_right _mm256_srai_epi32
#define every_int _mm256_set1_epi32
#define round_to_ints _mm256_cvtps_epi32
#define to_floats _mm256_cvtepi32_ps
#define size_of(x) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x)
#define low_halves(x) _mm256_and_si256(x, _mm256_set1_epi8(15))
#define high_halves(x) _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15))
/* Two products of a byte and of at most 64 fit into 16 bits: 2 * 255 * 64 < 32,768. */
static inline ints add_products(ints sum, ints unsigned_bytes, ints signed_bytes) {
    ints pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
/* With weights of 4 bits, sums of a group of 32 do: 8 * 2 * 15 * 64 < 32,768. */
static inline ints add_small_products(ints sum, ints unsigned_bytes, ints signed_bytes) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(unsigned_bytes, signed_bytes));
}
#define widen(x) _mm256_madd_epi16(x, _mm256_set1_epi16(1))
static inline void store_bytes(int8_t *place, ints numbers) {
    __m128i low = _mm256_castsi256_si128(numbers), high = _mm256_extracti128_si256(numbers, 1);
    __m128i words = _mm_packs_epi32(low, high);
    _mm_storel_epi64((void *)place, _mm_packs_epi16(words, words));
}
static inline floats times_power_of_2(floats x, floats n) {
    ints exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent));
}
static inline float sum_of(floats x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
static inline float largest_of(floats x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
#else
#error "neither AVX-512 with VNNI nor AVX2 with FMA"
#endif

/* e to the x with a relative error of some 2e-7; the polynomial is that of Cephes' expf. */
static inline floats exponential(floats x) {
    x = smaller(larger(x, every(-87.0f)), every(88.0f));
    floats power = nearest(multiply(x, every(1.44269504f)));
    floats rest = multiply_add(power, every(-0.693359375f), x);
    rest = multiply_add(power, every(2.12194440e-4f), rest);
    floats result = every(1.9875691500e-4f);
    result = multiply_add(result, rest, every(1.3981999507e-3f));
    result = multiply_add(result, rest, every(8.3334519073e-3f));
    result = multiply_add(result, rest, every(4.1665795894e-2f));
    result = multiply_add(result, rest, every(1.6666665459e-1f));
    result = multiply_add(result, rest, every(5.0000001201e-1f));
    result = add(multiply_add(multiply(rest, rest), result, rest), every(1.0f));
    return times_power_of_2(result, power);
}

/* --- threads --- */

enum { THREADS_MAX = 64, SPINS = 2000, CLOSED = 1 << 20 };
typedef void (*Share)(const void *job, int number);

static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_uint generation;
static atomic_int sleepers;
/* Workers within the job, and whether it is closed: nobody waits for those who come late. */
static atomic_int inside = CLOSED;
static atomic_int next_share;
static Share share;
static const void *shared_job;
static int share_count;
static int worker_count;

static void take_shares(void) {
    for (int number; (number = atomic_fetch_add(&next_share, 1)) < share_count;)
        share(shared_job, number);
}

static void *work(void *unused) {
    (void)unused;
    unsigned seen = 0;
    for (;;) {
        for (int spin = 0; spin < SPINS && atomic_load(&generation) == seen; spin++) _mm_pause();
        if (atomic_load(&generation) == seen) {
            pthread_mutex_lock(&sleep_lock);
            atomic_fetch_add(&sleepers, 1);
            while (atomic_load(&generation) == seen) pthread_cond_wait(&wake, &sleep_lock);
            atomic_fetch_sub(&sleepers, 1);
            pthread_mutex_unlock(&sleep_lock);
        }
        seen = atomic_load(&generation);
        if (!(atomic_fetch_add(&inside, 1) & CLOSED)) take_shares();
        atomic_fetch_sub(&inside, 1);
    }
    return NULL;
}

/* Call `does` once for each number below `count`, on all threads. */
static void run_shares(Share does, const void *job, int count, int threads) {
    share = does, shared_job = job, share_count = count;
    atomic_store(&next_share, 0);
    if (threads < 2 || count < 2) {
        take_shares();
        return;
    }
    for (; worker_count < threads - 1 && worker_count < THREADS_MAX; worker_count++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL)) break;
        pthread_detach(thread);
    }
    atomic_fetch_and(&inside, ~CLOSED);
    atomic_fetch_add(&generation, 1);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&sleep_lock);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&sleep_lock);
    }
    take_shares();
    atomic_fetch_or(&inside, CLOSED);
    for (int spin = 0; atomic_load(&inside) != CLOSED; spin++)
        if (spin < SPINS)
            _mm_pause();
        else
            sched_yield();
}

/* --- matrix products --- */

/* So many rows are summed at once that two sums and a result of each find place in registers. */
enum { PART_MAX = 64, ROWS_AT_ONCE = LANES / 2, TILES_EACH = 2, ROWS_EACH = 64 };

/* A matrix in tiles of LANES outputs; within a tile by group of inputs.
 * quants: four inputs of each output are LANES times 4 bytes; with 4 bits, the first half of a
 * group's fours stands in the low halves and the second in the high ones.
 * scales, minimums: LANES floats for each group. */
typedef struct {
    int outputs, inputs, bits, group;
    const uint8_t *quants;
    const float *scales, *minimums;
} Matrix;

/* Matrices over the same inputs, whose outputs stand side by side. bias: one for each output, or
 * none. */
typedef struct {
    const Matrix *parts;
    const float *bias;
    int part_count, outputs;
} Product;

/* Four bytes of a row. */
typedef int32_t Four;

/* Rounded rows in blocks of ROWS_AT_ONCE, by group of inputs.
 * parts: for each four inputs of a group the high parts of each row, then the low ones.
 * levels: the size of a step, by group and row. sums: that of the rounded numbers. */
typedef struct {
    const Matrix *matrix;
    const float *rows, *bias;
    float *result;
    int row_count, stride;
    Four *parts;
    float *levels, *sums;
} ProductJob;

static void round_row(const ProductJob *job, int row) {
    int inputs = job->matrix->inputs, group = job->matrix->group, groups = inputs / group;
    const float *numbers = job->rows + (size_t)row * inputs;
    size_t block = row / ROWS_AT_ONCE, place = row % ROWS_AT_ONCE;
    Four *parts = job->parts + block * ROWS_AT_ONCE * inputs / 2 + place;
    float *levels = job->levels + block * ROWS_AT_ONCE * groups + place;
    float *sums = job->sums + block * ROWS_AT_ONCE * groups + place;
    for (int g = 0; g < groups; g++, levels += ROWS_AT_ONCE, sums += ROWS_AT_ONCE) {
        floats sizes = every(0.0f), none = every(0.0f), total = every(0.0f);
        for (int i = 0; i < group; i += LANES) {
            floats some = load_floats(numbers + i);
            sizes = larger(size_of(some), sizes);
            none = add(none, subtract(some, some));
        }
        float largest = largest_of(sizes);
        floats inverse = every(largest > 0.0f ? PART_MAX * 127.0f / largest : 0.0f);
        for (int i = 0; i < group; i += LANES, numbers += LANES) {
            ints whole = round_to_ints(multiply(load_floats(numbers), inverse));
            ints high = shift_right(add_ints(whole, every_int(PART_MAX)), 7);
            int8_t highs[LANES], lows[LANES];
            store_bytes(highs, high);
            store_bytes(lows, subtract_ints(whole, shift_left(high, 7)));
            for (int four = 0; four < LANES; four += 4, parts += 2 * ROWS_AT_ONCE) {
                memcpy(parts, highs + four, 4);
                memcpy(parts + ROWS_AT_ONCE, lows + four, 4);
            }
            total = add(total, to_floats(whole));
        }
        /* `none` is NaN where a number is no number, or infinite; it must not be lost. */
        *levels = largest / (PART_MAX * 127.0f) + sum_of(none);
        *sums = *levels * sum_of(total);
    }
}

/* One block: rows of a block lie in the same cache lines, so they are for one thread. */
static void round_block(const void *given, int block) {
    const ProductJob *job = given;
    int row = block * ROWS_AT_ONCE, last = row + ROWS_AT_ONCE;
    for (; row < last && row < job->row_count; row++) round_row(job, row);
}

/* Add products of four inputs of each output with those of `count` rows. */
static inline __attribute__((always_inline)) void add_four(
    ints *high, ints *low, ints weights, const Four *parts, int count, int bits) {
#pragma GCC unroll 8
    for (int row = 0; row < count; row++) {
        ints highs = every_int(parts[row]), lows = every_int(parts[row + ROWS_AT_ONCE]);
        if (bits == 4) {
            high[row] = add_small_products(high[row], weights, highs);
            low[row] = add_small_products(low[row], weights, lows);
        } else {
            high[row] = add_products(high[row], weights, highs);
            low[row] = add_products(low[row], weights, lows);
        }
    }
}

/* LANES outputs of `count` rows, all of one block. count, bits, group: constants where inlined. */
static inline __attribute__((always_inline)) void multiply_tile(
    const ProductJob *job, int tile, int first, int count, int bits, int group) {
    const Matrix *matrix = job->matrix;
    int inputs = matrix->inputs, groups = inputs / group, fours = group / 4;
    int group_bytes = LANES * group * bits / 8, step = 2 * ROWS_AT_ONCE;
    const uint8_t *quants = matrix->quants + (size_t)tile * groups * group_bytes;
    const float *scales = matrix->scales + (size_t)tile * groups * LANES;
    const float *minimums = matrix->minimums + (size_t)tile * groups * LANES;
    size_t block = first / ROWS_AT_ONCE, place = first % ROWS_AT_ONCE;
    const Four *parts = job->parts + block * ROWS_AT_ONCE * inputs / 2 + place;
    const float *levels = job->levels + block * ROWS_AT_ONCE * groups + place;
    const float *sums = job->sums + block * ROWS_AT_ONCE * groups + place;
    floats results[ROWS_AT_ONCE];
#pragma GCC unroll 8
    for (int row = 0; row < count; row++) results[row] = every(0.0f);
    for (int g = 0; g < groups; g++) {
        ints high[ROWS_AT_ONCE], low[ROWS_AT_ONCE];
#pragma GCC unroll 8
        for (int row = 0; row < count; row++) high[row] = low[row] = no_ints();
        if (bits == 8) {
#pragma GCC unroll 8
            for (int four = 0; four < fours; four++) {
                ints weights = load_ints(quants + four * 4 * LANES);
                add_four(high, low, weights, parts + four * step, count, bits);
            }
        } else {
#pragma GCC unroll 4
            for (int four = 0; four < fours / 2; four++) {
                ints both = load_ints(quants + four * 4 * LANES);
                const Four *second = parts + (four + fours / 2) * step;
                add_four(high, low, low_halves(both), parts + four * step, count, bits);
                add_four(high, low, high_halves(both), second, count, bits);
            }
#pragma GCC unroll 8
            for (int row = 0; row < count; row++)
                high[row] = widen(high[row]), low[row] = widen(low[row]);
        }
        if (first % ROWS_EACH == 0) {
            /* The same group of the next tile, which the first rows would wait for. */
            for (int i = 0; i < group_bytes; i += 64)
                _mm_prefetch((const char *)quants + groups * group_bytes + i, _MM_HINT_T1);
            _mm_prefetch((const char *)(scales + groups * LANES), _MM_HINT_T1);
            _mm_prefetch((const char *)(minimums + groups * LANES), _MM_HINT_T1);
        }
        floats scale = load_floats(scales), minimum = load_floats(minimums);
#pragma GCC unroll 8
        for (int row = 0; row < count; row++) {
            floats whole = to_floats(add_ints(shift_left(high[row], 7), low[row]));
            results[row] = multiply_add(whole, multiply(scale, every(levels[row])), results[row]);
            results[row] = multiply_add(minimum, every(sums[row]), results[row]);
        }
        quants += group_bytes, scales += LANES, minimums += LANES;
        parts += fours * step, levels += ROWS_AT_ONCE, sums += ROWS_AT_ONCE;
    }
    int output = tile * LANES, left = matrix->outputs - output;
#pragma GCC unroll 8
    for (int row = 0; row < count; row++) {
        float *place_of = job->result + (size_t)(first + row) * job->stride + output;
        float whole[LANES];
        store_floats(whole, results[row]);
        if (job->bias)
            for (int i = 0; i < LANES && i < left; i++) whole[i] += job->bias[output + i];
        memcpy(place_of, whole, sizeof(float) * (left < LANES ? left : LANES));
    }
}

static inline __attribute__((always_inline)) void multiply_some(
    const ProductJob *job, int tile, int first, int last, int bits, int group) {
    int row = first;
    for (; row + ROWS_AT_ONCE <= last; row += ROWS_AT_ONCE)
        multiply_tile(job, tile, row, ROWS_AT_ONCE, bits, group);
    if (ROWS_AT_ONCE > 4 && row + 4 <= last) {
        multiply_tile(job, tile, row, 4, bits, group);
        row += 4;
    }
    if (row + 2 <= last) {
        multiply_tile(job, tile, row, 2, bits, group);
        row += 2;
    }
    if (row < last) multiply_tile(job, tile, row, 1, bits, group);
}

static void multiply_share(const void *given, int number) {
    const ProductJob *job = given;
    const Matrix *matrix = job->matrix;
    int tiles = (matrix->outputs + LANES - 1) / LANES;
    int columns = (tiles + TILES_EACH - 1) / TILES_EACH;
    int first = number / columns * ROWS_EACH, last = first + ROWS_EACH;
    if (last > job->row_count) last = job->row_count;
    int tile = number % columns * TILES_EACH;
    for (int end = tile + TILES_EACH; tile < end && tile < tiles; tile++) {
        if (matrix->bits == 4 && matrix->group == 32)
            multiply_some(job, tile, first, last, 4, 32);
        else if (matrix->group == 32)
            multiply_some(job, tile, first, last, 8, 32);
        else
            multiply_some(job, tile, first, last, 8, 16);
    }
}

/* result[row][output] = sum of rows[row][input] * weight[output][input], plus the bias if any.
 * rows: (row_count, inputs). result: (row_count, outputs). scratch: 2 + 8 / group bytes for each
 * input of the rows, of which there are a multiple of 8. */
void multiply_rows(const Product *product, const float *rows, int row_count, float *result,
    void *scratch, int threads) {
    size_t blocks = (row_count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
    int first = 0;
    pthread_mutex_lock(&one_call);
    for (int part = 0; part < product->part_count; part++) {
        const Matrix *matrix = &product->parts[part];
        const float *bias = product->bias ? product->bias + first : NULL;
        size_t count = blocks * ROWS_AT_ONCE * matrix->inputs, groups = count / matrix->group;
        float *levels = scratch;
        ProductJob job = {matrix, rows, bias, result + first, row_count, product->outputs,
            (Four *)(levels + 2 * groups), levels, levels + groups};
        int tiles = (matrix->outputs + LANES - 1) / LANES;
        int columns = (tiles + TILES_EACH - 1) / TILES_EACH;
        run_shares(round_block, &job, (int)blocks, threads);
        run_shares(
            multiply_share, &job, columns * ((row_count + ROWS_EACH - 1) / ROWS_EACH), threads);
        first += matrix->outputs;
    }
    pthread_mutex_unlock(&one_call);
}

/* --- between products --- */

/* Rows are shared among threads from so many numbers on. */
enum { SHARED_NUMBERS = 4096 };

static void run_rows(Share does, const void *job, int rows, int width, int threads) {
    pthread_mutex_lock(&one_call);
    run_shares(does, job, rows, rows * width < SHARED_NUMBERS ? 1 : threads);
    pthread_mutex_unlock(&one_call);
}

/* One over the root of the mean square of `width` numbers and epsilon. */
static float level_of(const float *numbers, int width, float epsilon) {
    floats total = every(0.0f);
    for (int i = 0; i < width; i += LANES) {
        floats some = load_floats(numbers + i);
        total = multiply_add(some, some, total);
    }
    return 1.0f / sqrtf(sum_of(total) / (float)width + epsilon);
}

typedef struct {
    float *hidden, *result;
    const float *change, *weight;
    int width;
    float epsilon;
} NormJob;

static void norm_row(const void *given, int row) {
    const NormJob *job = given;
    int width = job->width;
    float *hidden = job->hidden + (size_t)row * width, *result = job->result + (size_t)row * width;
    if (job->change) {
        const float *change = job->change + (size_t)row * width;
        for (int i = 0; i < width; i += LANES)
            store_floats(hidden + i, add(load_floats(hidden + i), load_floats(change + i)));
    }
    floats level = every(level_of(hidden, width, job->epsilon));
    for (int i = 0; i < width; i += LANES)
        store_floats(result + i,
            multiply(multiply(load_floats(hidden + i), level), load_floats(job->weight + i)));
}

/* Add `change`, if any, to `hidden` in place; its root-mean-square norm goes to `result`.
 * All (rows, width), weight (width). `result` may be `hidden` or `change`. */
void add_norm(float *hidden, const float *change, const float *weight, float epsilon, float *result,
    int rows, int width, int threads) {
    NormJob job = {hidden, result, change, weight, width, epsilon};
    run_rows(norm_row, &job, rows, width, threads);
}

typedef struct {
    const float *both;
    float *result;
    int width, gelu;
} GateJob;

static void gate_row(const void *given, int row) {
    const GateJob *job = given;
    const float *left = job->both + 2 * (size_t)row * job->width, *right = left + job->width;
    float *result = job->result + (size_t)row * job->width;
    floats one = every(1.0f);
    for (int i = 0; i < job->width; i += LANES) {
        floats x = load_floats(left + i), turned = x;
        if (job->gelu) {
            /* (1 + tanh y) / 2 is the logistic function of 2y. */
            floats cube = multiply(multiply(x, x), x);
            turned = multiply(multiply_add(cube, every(0.044715f), x), every(1.5957691216f));
        }
        floats share_open = divide(one, add(one, exponential(subtract(every(0.0f), turned))));
        store_floats(result + i, multiply(multiply(x, share_open), load_floats(right + i)));
    }
}

/* SiLU, or GELU in its tanh form, of the first half times the second.
 * both: (rows, 2 * width). result: (rows, width). */
void gate(const float *both, int gelu, float *result, int rows, int width, int threads) {
    GateJob job = {both, result, width, gelu};
    run_rows(gate_row, &job, rows, width, threads);
}

/* --- keys and values --- */

enum Format { WHOLE_FLOATS, HALF_FLOATS, SCALED_BYTES };

/* One layer's (2 * kv_heads, blocks, width * block_tokens), first the keys, then the values.
 * scales: one float for each of the (2 * kv_heads, slots) when they are bytes. */
typedef struct {
    void *numbers;
    float *scales;
    int64_t slots;
    int format, kv_heads, width, block_tokens;
} Cache;

static inline __attribute__((always_inline)) floats load_stored(
    const void *numbers, int64_t place, int format) {
    if (format == WHOLE_FLOATS) return load_floats((const float *)numbers + place);
    if (format == HALF_FLOATS) return load_halves((const uint16_t *)numbers + place);
    return load_bytes((const int8_t *)numbers + place);
}

/* Keys of a block are kept number by number, (width, block_tokens), so that the scores of its
 * tokens are one vector; values token by token, (block_tokens, width). */
static void store(const Cache *cache, int head, int64_t slot, const float *numbers) {
    int width = cache->width, step = head < cache->kv_heads ? cache->block_tokens : 1;
    int64_t line = head * cache->slots + slot, place = line * width;
    if (head < cache->kv_heads) place -= slot % step * (width - 1);
    float inverse = 1.0f;
    if (cache->format == SCALED_BYTES) {
        /* A row of zeros has any scale; one with a number that is none has none. */
        floats sizes = every(1e-30f), none = every(0.0f);
        for (int i = 0; i < width; i += LANES) {
            floats some = load_floats(numbers + i);
            sizes = larger(size_of(some), sizes);
            none = add(none, subtract(some, some));
        }
        float scale = largest_of(sizes) / 127.0f;
        cache->scales[line] = scale + sum_of(none);
        inverse = 1.0f / scale;
    }
    for (int i = 0; i < width; i += LANES, place += (int64_t)LANES * step) {
        floats some = load_floats(numbers + i);
        float own[LANES];
        uint16_t halves[LANES];
        int8_t bytes[LANES];
        store_floats(own, some);
        store_halves(halves, some);
        store_bytes(bytes, round_to_ints(multiply(some, every(inverse))));
        for (int lane = 0; lane < LANES; lane++) {
            int64_t target = place + (int64_t)lane * step;
            if (cache->format == WHOLE_FLOATS)
                ((float *)cache->numbers)[target] = own[lane];
            else if (cache->format == HALF_FLOATS)
                ((uint16_t *)cache->numbers)[target] = halves[lane];
            else
                ((int8_t *)cache->numbers)[target] = bytes[lane];
        }
    }
}

/* The rows of a step: where each stands in its text, where its keys and values go, and which line
 * of `tables`, (texts, blocks), has its text's blocks in order. Blocks are multiples of LANES. */
typedef struct {
    const int64_t *positions, *slots;
    const int32_t *tables, *lines;
    int rows, blocks, heads, threads;
    float epsilon;
} Step;

typedef struct {
    const Step *step;
    const Cache *cache;
    float *qkv;
    const float *norms, *turns;
} TurnJob;

static void turn_row(const void *given, int row) {
    const TurnJob *job = given;
    const Cache *cache = job->cache;
    int width = cache->width, turned = job->step->heads + cache->kv_heads;
    float *own = job->qkv + (size_t)row * (turned + cache->kv_heads) * width;
    const float *turn = job->turns + job->step->positions[row] * width;
    for (int head = 0; head < turned; head++) {
        float *numbers = own + head * width;
        if (job->norms) {
            floats level = every(level_of(numbers, width, job->step->epsilon));
            for (int i = 0; i < width; i += LANES)
                store_floats(numbers + i, multiply(multiply(load_floats(numbers + i), level),
                                              load_floats(job->norms + head * width + i)));
        }
        for (int i = 0; i < width; i += 2) {
            float left = numbers[i], right = numbers[i + 1];
            numbers[i] = left * turn[i] - right * turn[i + 1];
            numbers[i + 1] = left * turn[i + 1] + right * turn[i];
        }
    }
    for (int head = 0; head < 2 * cache->kv_heads; head++)
        store(cache, head, job->step->slots[row], own + (job->step->heads + head) * width);
}

/* Queries and keys are normalised head by head, if there are `norms`, and turned by their position;
 * keys and values go into the cache.
 * qkv: (rows, heads + 2 * kv_heads, width). norms: (heads + kv_heads, width).
 * turns: (positions, width / 2) pairs of a cosine and a sine; what it turns are neighbours. */
void turn_and_store(
    const Step *step, float *qkv, const float *norms, const float *turns, const Cache *cache) {
    TurnJob job = {step, cache, qkv, norms, turns};
    int width = (step->heads + 2 * cache->kv_heads) * cache->width;
    run_rows(turn_row, &job, step->rows, width, step->threads);
}

/* --- attention --- */

/* Tokens of which scores are at hand at once, and queries that share what is read of them. */
enum { TOKENS_AT_ONCE = 128, QUERIES_AT_ONCE = 4 };

typedef struct {
    const Step *step;
    const Cache *cache;
    const float *qkv;
    float *result;
    int window;
} AttendJob;

/* Bring the keys or values of LANES tokens near, `line` being the first one's. */
static inline void fetch(const Cache *cache, int64_t line) {
    int bytes = cache->format == WHOLE_FLOATS ? 4 : cache->format == HALF_FLOATS ? 2 : 1;
    const char *first = (const char *)cache->numbers + line * cache->width * bytes;
    for (int i = 0; i < LANES * cache->width * bytes; i += 64) _mm_prefetch(first + i, _MM_HINT_T0);
}

/* Scores of LANES tokens that stand side by side in a block, from their first one's slot on. */
static inline __attribute__((always_inline)) void score(const Cache *cache, int kv_head,
    int64_t slot, const float *queries, int count, int format, float (*scores)[TOKENS_AT_ONCE],
    int place) {
    int width = cache->width, step = cache->block_tokens;
    int64_t line = kv_head * cache->slots + slot, key = line * width - slot % step * (width - 1);
    floats even[QUERIES_AT_ONCE], odd[QUERIES_AT_ONCE];
#pragma GCC unroll 4
    for (int q = 0; q < count; q++) even[q] = odd[q] = every(0.0f);
    for (int i = 0; i < width; i += 2) {
        floats first = load_stored(cache->numbers, key + (int64_t)i * step, format);
        floats second = load_stored(cache->numbers, key + (int64_t)(i + 1) * step, format);
#pragma GCC unroll 4
        for (int q = 0; q < count; q++) {
            even[q] = multiply_add(first, every(queries[q * width + i]), even[q]);
            odd[q] = multiply_add(second, every(queries[q * width + i + 1]), odd[q]);
        }
    }
    floats scale = format == SCALED_BYTES ? load_floats(cache->scales + line) : every(1.0f);
#pragma GCC unroll 4
    for (int q = 0; q < count; q++)
        store_floats(scores[q] + place, multiply(add(even[q], odd[q]), scale));
}

/* One query's scores become shares; gives what was summed before times its change of scale. */
static inline float weigh(float *scores, int some, float *most, float *total) {
    floats highest = every(*most), sum = every(0.0f);
    for (int t = 0; t < some; t += LANES) highest = larger(load_floats(scores + t), highest);
    float now = largest_of(highest);
    for (int t = 0; t < some; t += LANES) {
        floats shares = exponential(subtract(load_floats(scores + t), every(now)));
        store_floats(scores + t, shares);
        sum = add(sum, shares);
    }
    float kept = expf(*most - now);
    *most = now;
    *total = *total * kept + sum_of(sum);
    return kept;
}

/* Softmax over tokens a piece at a time, with what was summed before brought to the new maximum.
 * Source: FlashAttention (arXiv 2205.14135). */
static inline __attribute__((always_inline)) void attend_some(
    const AttendJob *job, int row, int kv_head, int query, int count, int format) {
    const Step *step = job->step;
    const Cache *cache = job->cache;
    int width = cache->width, block_tokens = cache->block_tokens;
    const float *queries =
        job->qkv + ((size_t)row * (step->heads + 2 * cache->kv_heads) + query) * width;
    float *result = job->result + ((size_t)row * step->heads + query) * width;
    const int32_t *table = step->tables + (size_t)step->lines[row] * step->blocks;
    int64_t keys = kv_head * cache->slots, values = (cache->kv_heads + kv_head) * cache->slots;
    int64_t end = step->positions[row] + 1;
    int64_t begin = job->window && end > job->window ? end - job->window : 0;
    float scores[QUERIES_AT_ONCE][TOKENS_AT_ONCE];
    float most[QUERIES_AT_ONCE], total[QUERIES_AT_ONCE], kept[QUERIES_AT_ONCE];
    int64_t lines[TOKENS_AT_ONCE];
    for (int q = 0; q < count; q++) most[q] = -FLT_MAX, total[q] = 0.0f;
    memset(result, 0, sizeof(float) * count * width);
    for (int64_t token = begin / LANES * LANES; token < end;) {
        int some = 0;
        for (; some < TOKENS_AT_ONCE && token < end; some += LANES, token += LANES) {
            int64_t slot =
                table[token / block_tokens] * (int64_t)block_tokens + token % block_tokens;
            if (token + LANES < end && (token + LANES) % block_tokens == 0)
                fetch(cache, keys + table[(token + LANES) / block_tokens] * (int64_t)block_tokens);
            fetch(cache, values + slot);
            score(cache, kv_head, slot, queries, count, format, scores, some);
            for (int t = 0; t < LANES; t++) {
                lines[some + t] = values + slot + t;
                if (token + t < begin || token + t >= end)
                    for (int q = 0; q < count; q++) scores[q][some + t] = -INFINITY;
            }
        }
        int last = token > end ? some - (int)(token - end) : some;
        int first = token - some < begin ? (int)(begin - (token - some)) : 0;
        for (int q = 0; q < count; q++) {
            kept[q] = weigh(scores[q], some, &most[q], &total[q]);
            if (format == SCALED_BYTES)
                for (int t = first; t < last; t++) scores[q][t] *= cache->scales[lines[t]];
        }
        for (int i = 0; i < width; i += 2 * LANES) {
            floats left[QUERIES_AT_ONCE], right[QUERIES_AT_ONCE];
            int two = i + LANES < width;
#pragma GCC unroll 4
            for (int q = 0; q < count; q++) {
                left[q] = multiply(load_floats(result + q * width + i), every(kept[q]));
                right[q] = every(0.0f);
                if (two)
                    right[q] =
                        multiply(load_floats(result + q * width + i + LANES), every(kept[q]));
            }
            for (int t = first; t < last; t++) {
                int64_t place = lines[t] * width + i;
                floats value = load_stored(cache->numbers, place, format);
                floats next = load_stored(cache->numbers, place + (two ? LANES : 0), format);
#pragma GCC unroll 4
                for (int q = 0; q < count; q++) {
                    floats share_of = every(scores[q][t]);
                    left[q] = multiply_add(value, share_of, left[q]);
                    right[q] = multiply_add(next, share_of, right[q]);
                }
            }
#pragma GCC unroll 4
            for (int q = 0; q < count; q++) {
                store_floats(result + q * width + i, left[q]);
                if (two) store_floats(result + q * width + i + LANES, right[q]);
            }
        }
    }
    for (int q = 0; q < count; q++)
        for (int i = 0; i < width; i += LANES)
            store_floats(result + q * width + i,
                divide(load_floats(result + q * width + i), every(total[q])));
}

static inline __attribute__((always_inline)) void attend_queries(
    const AttendJob *job, int row, int kv_head, int format) {
    int each = job->step->heads / job->cache->kv_heads, query = kv_head * each, last = query + each;
    for (; query + 4 <= last; query += 4) attend_some(job, row, kv_head, query, 4, format);
    if (last - query == 3)
        attend_some(job, row, kv_head, query, 3, format);
    else if (last - query == 2)
        attend_some(job, row, kv_head, query, 2, format);
    else if (last - query == 1)
        attend_some(job, row, kv_head, query, 1, format);
}

static void attend_share(const void *given, int number) {
    const AttendJob *job = given;
    int row = number / job->cache->kv_heads, kv_head = number % job->cache->kv_heads;
    if (job->cache->format == WHOLE_FLOATS)
        attend_queries(job, row, kv_head, WHOLE_FLOATS);
    else if (job->cache->format == HALF_FLOATS)
        attend_queries(job, row, kv_head, HALF_FLOATS);
    else
        attend_queries(job, row, kv_head, SCALED_BYTES);
}

/* Attention of each row over its text up to its own place, which the cache holds already.
 * qkv: (rows, heads + 2 * kv_heads, width), queries scaled. result: (rows, heads, width).
 * window: tokens that a row sees, its own included; 0 for all. */
void attend(const Step *step, const float *qkv, int window, const Cache *cache, float *result) {
    AttendJob job = {step, cache, qkv, result, window};
    pthread_mutex_lock(&one_call);
    run_shares(attend_share, &job, step->rows * cache->kv_heads, step->threads);
    pthread_mutex_unlock(&one_call);
}

/* --- layers --- */

/* Norms that a family does not have are absent. */
typedef struct {
    Product qkv, attention_out, gate_up, down;
    const float *attention_norm, *query_key_norms, *attention_out_norm, *inner_norm, *down_norm;
    const float *turns;
    Cache cache;
    int window, gelu;
} Layer;

/* So many rows `run_layer` takes at most; its `room` is for as many. */
const int layer_rows_max = ROWS_EACH;

/* One layer for rows few enough that what lies between its products stays in the cache. */
static void run_layer(const Step *step, const Layer *layer, float *hidden, float *room) {
    int rows = step->rows, threads = step->threads, width = layer->attention_out.outputs;
    int inner = layer->gate_up.outputs / 2;
    float epsilon = step->epsilon;
    float *normal = room, *change = normal + rows * width, *qkv = change + rows * width;
    float *mixed = qkv + rows * layer->qkv.outputs;
    float *both = mixed + rows * step->heads * layer->cache.width;
    float *opened = both + rows * 2 * inner, *scratch = opened + rows * inner;
    add_norm(hidden, NULL, layer->attention_norm, epsilon, normal, rows, width, threads);
    multiply_rows(&layer->qkv, normal, rows, qkv, scratch, threads);
    turn_and_store(step, qkv, layer->query_key_norms, layer->turns, &layer->cache);
    attend(step, qkv, layer->window, &layer->cache, mixed);
    multiply_rows(&layer->attention_out, mixed, rows, change, scratch, threads);
    if (layer->attention_out_norm)
        add_norm(change, NULL, layer->attention_out_norm, epsilon, change, rows, width, threads);
    add_norm(hidden, change, layer->inner_norm, epsilon, normal, rows, width, threads);
    multiply_rows(&layer->gate_up, normal, rows, both, scratch, threads);
    gate(both, layer->gelu, opened, rows, inner, threads);
    multiply_rows(&layer->down, opened, rows, change, scratch, threads);
    if (layer->down_norm)
        add_norm(change, NULL, layer->down_norm, epsilon, change, rows, width, threads);
    for (int i = 0; i < rows * width; i++) hidden[i] += change[i];
}

/* All layers, in the order in which the decoder has them: the same operations, without the way back
 * to Python between them. Rows of a text stand in its order, so a row finds the keys and values of
 * those before it, whichever block of rows they are in. hidden: (rows, width). room: what
 * `run_layer` needs for `layer_rows_max` rows, or for all of them rounded up to a multiple of 8. */
void run_layers(const Step *step, const Layer *layers, int count, float *hidden, float *room) {
    for (const Layer *layer = layers; layer < layers + count; layer++)
        for (int first = 0; first < step->rows; first += ROWS_EACH) {
            Step some = *step;
            some.positions += first, some.slots += first, some.lines += first;
            if (some.rows - first < ROWS_EACH)
                some.rows -= first;
            else
                some.rows = ROWS_EACH;
            run_layer(&some, layer, hidden + (size_t)first * layer->attention_out.outputs, room);
        }
}
