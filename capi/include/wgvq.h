/* The C interface of wgvq. Written by cbindgen from capi/src/lib.rs: scripts/capi.sh header.
 *
 * Functions that can fail return a null pointer or WGVQ_FAILED; wgvq_last_error then says why.
 * Pixels are bytes of display-encoded values, row by row, the channels of a pixel together; codes
 * are numbers of 32 bits, level by level, row by row, those of a latent together. Handles may be
 * used from any thread, one thread at a time each. None outlives the call that frees it; a model
 * keeps its device alive.
 */

#ifndef WGVQ_H
#define WGVQ_H

#include <stddef.h>
#include <stdint.h>

// The result of a call that can fail, where it did not.
#define WGVQ_OK 0

// The result of a call that can fail, where it did: wgvq_last_error says why.
#define WGVQ_FAILED -1

// A device that models compute on.
typedef struct WgvqGpu WgvqGpu;

// A model on a device: the decoder alone, or a whole one with the priors that its run has.
typedef struct WgvqModel WgvqModel;

// The sizes of a model's images and codes.
typedef struct {
  // Pixels of a row.
  uint32_t width;
  // Rows of pixels.
  uint32_t height;
  // Values of a pixel: 1 or 3.
  uint32_t channels;
  // Codes of an image, of all levels.
  uint32_t codes;
  // Codes of the largest codebook: every code is smaller.
  uint32_t codebook_size;
  // 1 where wgvq_encode can be called.
  uint32_t encodes;
  // 1 where wgvq_sample can be called.
  uint32_t samples;
  // Classes of the prior; 0 where its images have none.
  uint32_t classes;
} WgvqInfo;

// Options of sampling. wgvq_sampling_default fills it.
typedef struct {
  // Seed of the draws: the same seed draws the same images.
  uint64_t seed;
  // Temperature; 1 is the model's distribution, 0 takes the likeliest code.
  float temperature;
  // Codes among which one is drawn, the likeliest ones; 0 for all.
  uint32_t top_k;
  // The share of probability among whose likeliest codes one is drawn; 1 for all.
  float top_p;
  // The share of the likeliest code's probability that a code must have to be drawn; 0 for all.
  float min_p;
  // Classifier-free guidance; 1 is none.
  float guidance;
} WgvqSampling;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the library, as "0.1.0". Never freed.
const char *wgvq_version(void);

// Returns why the last call of this thread that failed did: text in UTF-8, which stays until the
// next one fails. Empty before.
const char *wgvq_last_error(void);

// Opens a device. `adapter` is a part of an adapter's name or its number, as the program's
// --adapter takes it, or null for the best there is. Null where there is none.
//
// # Safety
// `adapter` is null or text that ends in a zero.
WgvqGpu *wgvq_gpu_open(const char *adapter);

// Lets a device go. Models on it stay usable. Null is ignored.
//
// # Safety
// `gpu` is null, or was opened and not yet let go.
void wgvq_gpu_close(WgvqGpu *gpu);

// Loads the model of a run: its folder, with its priors where it has some, or a model's file.
// Null where that fails, or a prior that is there cannot be loaded: name the model's file to do
// without priors.
//
// # Safety
// `gpu` is a device that was not let go, `path` text that ends in a zero.
WgvqModel *wgvq_model_load(const WgvqGpu *gpu, const char *path);

// Loads a decoder from the bytes of its file, as `wgvq export RUN --decoder` writes it, or of a
// whole model's. It decodes, and does nothing else. Null where that fails.
//
// # Safety
// `gpu` is a device that was not let go, `bytes` as many bytes as `size` says.
WgvqModel *wgvq_decoder_from_bytes(const WgvqGpu *gpu, const uint8_t *bytes, size_t size);

// Lets a model go. Null is ignored.
//
// # Safety
// `model` is null, or was loaded and not yet let go.
void wgvq_model_free(WgvqModel *model);

// Says the sizes of a model's images and codes.
//
// # Safety
// `model` is a model that was not let go, `info` room for one.
int32_t wgvq_model_info(const WgvqModel *model, WgvqInfo *info);

// Turns codes into images: `codes` of as many images as `count / info.codes`, into `pixels`, which
// has room for `room` bytes; an image takes width * height * channels.
//
// # Safety
// `model` is a model that was not let go, `codes` as many codes as `count` says, `pixels` as many
// bytes as `room` says.
int32_t wgvq_decode(const WgvqModel *model,
                    const uint32_t *codes,
                    size_t count,
                    uint8_t *pixels,
                    size_t room);

// Turns images into codes: `pixels` of as many images as `count / (width * height * channels)`,
// into `codes`, which has room for `room` of them; an image takes info.codes.
//
// # Safety
// `model` is a model that was not let go, `pixels` as many bytes as `count` says, `codes` as many
// codes as `room` says.
int32_t wgvq_encode(const WgvqModel *model,
                    const uint8_t *pixels,
                    size_t count,
                    uint32_t *codes,
                    size_t room);

// Fills in how samples are drawn by default: seed 0, temperature 1, no filter, no guidance.
//
// # Safety
// `sampling` is room for one.
int32_t wgvq_sampling_default(WgvqSampling *sampling);

// Draws codes of new images by the run's prior, an image of each of `classes`; info.classes stands
// for no class. Into `codes`, which has room for `room` of them; an image takes info.codes.
// `sampling` may be null.
//
// # Safety
// `model` is a model that was not let go, `classes` as many numbers as `images` says, `codes` as
// many codes as `room` says; `sampling` is null, or one that was filled in.
int32_t wgvq_sample(const WgvqModel *model,
                    const uint32_t *classes,
                    size_t images,
                    const WgvqSampling *sampling,
                    uint32_t *codes,
                    size_t room);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WGVQ_H */
