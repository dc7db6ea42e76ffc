# wgvq on Mesa's software Vulkan, for machines without a GPU. Debian 13, whose Mesa is faster on our kernels than that of Debian 12.
#
#   docker build -t wgvq .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" wgvq demo      # writes ./runs/demo
#
# A GPU needs its own driver inside; docs/troubleshooting.md says how.

FROM rust:1-trixie AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/wgvq /usr/local/bin/wgvq
# Whoever runs it may have no home here: tuning tables, Mesa's compiled kernels and decoded images go to a place that all can write.
ENV HOME=/tmp XDG_RUNTIME_DIR=/tmp
WORKDIR /work
ENTRYPOINT ["wgvq"]
CMD ["--help"]
