# Two images. The line, without torch (inspects with an exported model):
#   docker build --target line -t defectkit:line .
#   docker run --rm -v "$PWD:/work" defectkit:line inspect MODEL IMAGES --out inspection
# The workstation, which trains as well (on a CPU; for a GPU give --build-arg TORCH_INDEX= as well,
# and --gpus all to docker run):
#   docker build --target train -t defectkit:train .
#   docker run --rm --shm-size 2g -v "$PWD:/work" defectkit:train train --data dataset
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS line
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/*.whl && useradd --create-home defectkit
USER defectkit
WORKDIR /work
ENTRYPOINT ["defectkit"]

FROM line AS train
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
USER root
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} \
    "defectkit[train,export] @ file://$(ls /wheels/*.whl)"
USER defectkit
