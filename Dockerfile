# The one image of regkeeper: operator, node agent, retention runs and the command for people.
ARG BASE=docker.io/library/python:3.13-slim

# Dependencies change seldom: a layer of their own, so that a change of the code builds and travels in seconds.
FROM ${BASE} AS dependencies
COPY requirements.lock /opt/regkeeper/
RUN python3 -m venv --without-pip /opt/regkeeper \
 && python3 -m venv /tmp/build \
 && /tmp/build/bin/pip --python /opt/regkeeper/bin/python install --no-cache-dir --no-deps --require-hashes \
      --requirement /opt/regkeeper/requirements.lock \
 && rm -rf /tmp/build

FROM ${BASE} AS package
COPY requirements-build.lock /source/
RUN python3 -m venv --without-pip /opt/regkeeper \
 && python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /source/requirements-build.lock
COPY pyproject.toml README.md /source/
COPY operator /source/operator
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /source \
 && /build/bin/pip --python /opt/regkeeper/bin/python install --no-cache-dir --no-deps --no-index \
      --no-warn-script-location --root /package /wheels/*.whl

FROM dependencies
COPY --from=package /package/opt/regkeeper /opt/regkeeper
# kopf asks for a user name, which a bare uid has not.
ENV PATH=/opt/regkeeper/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LOGNAME=regkeeper \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
LABEL org.opencontainers.image.title="regkeeper" \
      org.opencontainers.image.description="Keeps a Kubernetes cluster's own container registries" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["regkeeper"]
