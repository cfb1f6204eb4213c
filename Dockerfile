# The development stack in a container: everything ./script/demo installs on a bare Debian 12. Base packages are upgraded at build
# time, because PostgreSQL and curl get security fixes more often than the image is published.
FROM debian:12
RUN apt-get update && apt-get -y upgrade && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /opgate
COPY . .
RUN apt-get update && ./script/bootstrap && make -s && rm -rf /var/lib/apt/lists/*
CMD ["./script/demo"]
