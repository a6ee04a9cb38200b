# Two images: without a target the one for CPUs.
#   docker build --target cpu -t gansformer:cpu .
#   docker build --target gpu -t gansformer:gpu .
# See docs/distribution.md.
FROM python:3.12-slim-bookworm AS base
# g++ builds the native ops at their first use, for the processor in front; they stay in the cache.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --create-home gansformer \
    && install --directory --owner 1000 --group 1000 /cache /data /runs
WORKDIR /app
COPY requirements.txt .
ENV PATH=/app/scripts:$PATH GANSFORMER_CACHE=/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS gpu
# CUDA's libraries come with these packages, the driver from NVIDIA's container toolkit on the host.
RUN sed -i 's/^tensorflow>/tensorflow[and-cuda]>/' requirements.txt \
    && pip install --no-cache-dir --requirement requirements.txt
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY . .
# From here "data/NAME" and "runs/NAME" are the folders made above.
WORKDIR /
USER 1000
VOLUME /cache
CMD ["doctor.py"]

FROM base AS cpu
RUN pip install --no-cache-dir --requirement requirements.txt
COPY . .
# From here "data/NAME" and "runs/NAME" are the folders made above.
WORKDIR /
USER 1000
VOLUME /cache
CMD ["doctor.py"]
