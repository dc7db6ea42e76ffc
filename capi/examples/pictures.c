/* Decodes, encodes and draws pictures with a trained model.
 *
 *   pictures RUN decode CODE..        the codes of one image
 *   pictures RUN encode < in.ppm      prints the codes of an image of the model's size
 *   pictures RUN sample CLASS SEED    draws an image; `none` is no class
 *   pictures FILE decoder CODE..      as decode, by the file of `wgvq export --decoder`
 *
 * Pictures are written to standard output as PPM, or PGM where they have one channel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wgvq.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, wgvq_last_error());
    return 1;
}

static void *room(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return memory;
}

/* The bytes of a file, or of standard input where there is no path. */
static uint8_t *read_all(const char *path, size_t *size) {
    FILE *file = path ? fopen(path, "rb") : stdin;
    if (!file) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(1);
    }
    size_t most = 1 << 16;
    uint8_t *bytes = room(most);
    *size = 0;
    for (size_t got; (got = fread(bytes + *size, 1, most - *size, file)) > 0;) {
        *size += got;
        if (*size == most) {
            bytes = realloc(bytes, most *= 2);
            if (!bytes) exit(1);
        }
    }
    if (path) fclose(file);
    return bytes;
}

static int show(WgvqModel *model, const WgvqInfo *info, const uint32_t *codes) {
    size_t size = (size_t)info->width * info->height * info->channels;
    uint8_t *pixels = room(size);
    if (wgvq_decode(model, codes, info->codes, pixels, size) != WGVQ_OK) return failed("decode");
    printf("P%d\n%u %u\n255\n", info->channels == 1 ? 5 : 6, info->width, info->height);
    fwrite(pixels, 1, size, stdout);
    free(pixels);
    return 0;
}

static int run(WgvqModel *model, int count, char **words) {
    WgvqInfo info;
    if (wgvq_model_info(model, &info) != WGVQ_OK) return failed("info");
    uint32_t *codes = room(sizeof(uint32_t) * info.codes);
    int code = 1;
    if (!strcmp(words[2], "encode")) {
        size_t size, pixels = (size_t)info.width * info.height * info.channels;
        uint8_t *picture = read_all(NULL, &size);
        if (size < pixels) {
            fprintf(stderr, "a picture of %u x %u is needed\n", info.width, info.height);
        } else if (wgvq_encode(model, picture + size - pixels, pixels, codes, info.codes)) {
            failed("encode");
        } else {
            for (uint32_t i = 0; i < info.codes; i++) printf("%u\n", codes[i]);
            code = 0;
        }
        free(picture);
    } else if (!strcmp(words[2], "sample") && count == 5) {
        WgvqSampling sampling;
        wgvq_sampling_default(&sampling);
        uint32_t class = info.classes;
        if (strcmp(words[3], "none")) class = (uint32_t)strtoul(words[3], NULL, 10);
        sampling.seed = strtoull(words[4], NULL, 10);
        if (wgvq_sample(model, &class, 1, &sampling, codes, info.codes) != WGVQ_OK) {
            failed("sample");
        } else {
            code = show(model, &info, codes);
        }
    } else if (count == 3 + (int)info.codes) {
        for (uint32_t i = 0; i < info.codes; i++) {
            codes[i] = (uint32_t)strtoul(words[3 + i], NULL, 10);
        }
        code = show(model, &info, codes);
    } else {
        fprintf(stderr, "an image has %u codes\n", info.codes);
    }
    free(codes);
    return code;
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "wgvq %s\nusage: pictures RUN decode|encode|sample|decoder ..\n",
                wgvq_version());
        return 2;
    }
    WgvqGpu *gpu = wgvq_gpu_open(NULL);
    if (!gpu) return failed("no device");
    WgvqModel *model;
    if (!strcmp(words[2], "decoder")) {
        size_t size;
        uint8_t *bytes = read_all(words[1], &size);
        model = wgvq_decoder_from_bytes(gpu, bytes, size);
        free(bytes);
    } else {
        model = wgvq_model_load(gpu, words[1]);
    }
    /* The model keeps its device. */
    wgvq_gpu_close(gpu);
    if (!model) return failed(words[1]);
    int code = run(model, count, words);
    wgvq_model_free(model);
    return code;
}
