# make test: installs what is missing, builds, tests.
PACKAGES := g++ cmake ninja-build ccache python3-venv python3-dev libfmt-dev libcli11-dev nlohmann-json3-dev libgtest-dev
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: test build install sanitize format clean
install: build/.packages
build/.packages: Makefile
	@mkdir -p build
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || ($(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends $(PACKAGES))
	@touch $@

# The Python that tests run in; installed again only where the list changed.
.venv/.installed: requirements-dev.txt | install
	@test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install -q -r requirements-dev.txt
	@touch $@

build: install .venv/.installed
	cmake --preset release -DHEED_PYTHON=ON -DPython_EXECUTABLE=$(CURDIR)/.venv/bin/python >build/configure.log || (cat build/configure.log; exit 1)
	cmake --build --preset release

test: build
	./build/release/heed_tests --gtest_brief=1
	./build/release/heed verify tests/cases/*.safetensors
	.venv/bin/python -m pytest -q

sanitize: install
	cmake --preset asan >/dev/null
	cmake --build --preset asan
	./build/asan/heed_tests --gtest_brief=1

format:
	clang-format-16 -i $$(git ls-files '*.h' '*.cpp')

clean:
	rm -rf build
