# One image for the five services and the command line: `python -m consilium.<service>`, or `consilium`.
#
# BASE is any image with CPython 3.11 and its venv module; `make image` makes one of the machine's own Debian where no
# registry is to be had. All that is installed is pinned by hash in requirements/services.txt, and what builds it in
# requirements/image.txt, which does not stay. Byte code is compiled with hashes in place of times, so that one commit gives
# one image; nothing in it need ever be written. The bill of materials lies at /opt/consilium/sbom.cdx.json.
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
COPY requirements/image.txt requirements/services.txt /requirements/
RUN python3 -m venv /builder && /builder/bin/pip install --quiet --require-hashes -r /requirements/image.txt
RUN python3 -m venv --without-pip /opt/consilium \
 && /builder/bin/pip --python /opt/consilium/bin/python install --quiet --no-compile --require-hashes -r /requirements/services.txt
COPY protos /source/protos
COPY services /source/services
COPY pyproject.toml README.md CHANGELOG.md LICENSE /source/
# The epoch is that of the last commit: wheels and archives carry it in place of today.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
# The wheels are named by hand: pip would note the folder it fetched them from.
RUN cd /source && PATH=/builder/bin:$PATH pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels ./protos . \
 && /builder/bin/pip --python /opt/consilium/bin/python install --quiet --no-compile --no-deps /wheels/*.whl \
 && /builder/bin/cyclonedx-py environment --output-reproducible --output-file /opt/consilium/sbom.cdx.json \
      /opt/consilium/bin/python \
 && /opt/consilium/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/consilium/lib

FROM ${BASE}
COPY --from=builder /opt/consilium /opt/consilium
ENV PATH=/opt/consilium/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# No name is needed for it; the chart demands the number.
USER 10001:10001
WORKDIR /tmp
CMD ["consilium", "--help"]
