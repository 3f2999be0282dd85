# The image: the helper in a virtual environment of its own, and of the base only the Python that runs it: docs/operate/image.md.
# RELEASING.md says how the base moves on.
ARG BASE=python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# without pip: what runs is in it, and nothing that could install more; wheels only: no compiler is needed
RUN python3 -m venv --without-pip /opt/task-helper
COPY requirements.txt .
# botocore describes some 400 services; the helper asks ECS and Cloud Map, and STS first where it is to assume a role
RUN pip --python /opt/task-helper/bin/python3 install --no-deps --require-hashes --only-binary :all: -r requirements.txt \
 && find /opt/task-helper/lib/python3.*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name ecs ! -name servicediscovery ! -name sts -exec rm -r {} +

# the build backend, too, comes with its hash from the lock
COPY requirements-dev.txt .
RUN sed -n '/^poetry-core==/,/[^\\]$/p' requirements-dev.txt >backend.txt \
 && pip install --no-deps --require-hashes -r backend.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir . . \
 && pip --python /opt/task-helper/bin/python3 install --no-deps --no-index ./*.whl

# as `pip` has made it, it would lose a SIGTERM that comes while Python starts
COPY tools/image-entry-point /opt/task-helper/bin/task-helper

# nothing in an image ever changes, so Python need not look at each start whether the source is newer
RUN python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/task-helper/lib

COPY tools/minimal_root.py ./
RUN python3 minimal_root.py /minimal /opt/task-helper


FROM scratch
ENV PATH=/opt/task-helper/bin:/usr/local/bin:/usr/bin
COPY --from=build /minimal /
COPY --from=build /opt/task-helper /opt/task-helper

# The standard library has come without byte code, so with a read-only root every start and every health check would compile
# it anew. Importing all that the helper imports writes it once.
RUN ["python3", "-c", "import importlib, pkgutil, encodings.idna, botocore.session, task_helper, task_helper_taskdef; \
      botocore.session.get_session().create_client('ecs', region_name='eu-west-1'); \
      [importlib.import_module(m.name) for p in (task_helper, task_helper_taskdef) \
      for m in pkgutil.walk_packages(p.__path__, f'{p.__name__}.')]"]

ENV PYTHONDONTWRITEBYTECODE=1
# a number, so that an orchestrator can see that it is not root; any other UID does as well
USER 65532:65532
ENTRYPOINT ["task-helper"]
CMD ["run"]
# for Docker and Compose; ECS looks at the task definition's healthCheck alone
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["task-helper", "healthcheck"]

ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="ecs-task-helper" \
      org.opencontainers.image.description="Drains Envoy before ECS stops the task" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
