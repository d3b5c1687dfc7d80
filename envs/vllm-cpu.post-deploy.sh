#!/usr/bin/env bash
# Builds for CUDA, whose operators the CPU build of torch lacks: importing vLLM would fail.
set -euo pipefail
pip uninstall --yes torchvision torchaudio torchcodec triton
