# taskdb with all extras, from this checkout: docker build -t taskdb .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
# The checkout itself is what is installed, so there is no version to pin.
# hadolint ignore=DL3013
RUN python -m venv --without-pip /opt/taskdb && pip --python /opt/taskdb install --no-cache-dir '.[all]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="taskdb" \
      org.opencontainers.image.description="Administer a database of users and tasks, on SQLite or PostgreSQL" \
      org.opencontainers.image.licenses="MIT"
# The number never changes, because files of volumes and bind mounts belong to it.
# /backups is there for a second volume: Docker gives a new one the owner that the directory has in the image.
RUN useradd --no-log-init --uid 10001 --user-group --home-dir /data --create-home --shell /usr/sbin/nologin taskdb && \
    install --directory --mode=0700 --owner=taskdb --group=taskdb /backups
COPY --from=build /opt/taskdb /opt/taskdb
# The only directory that taskdb writes to: a SQLite file and its archives, unless the settings name other places.
ENV PATH=/opt/taskdb/bin:$PATH HOME=/data XDG_DATA_HOME=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
# For `serve`: asks the process itself. A database that is away is no reason to start the server again.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["taskdb"]
CMD ["--help"]
