# make demo: a public model, a real file, ten ways of attending beside exact attention. make test: builds everything and tests it.
# Each installs what is missing.
PACKAGES := $(if $(filter x86_64,$(shell uname -m)),,libsimde-dev) g++ cmake ninja-build ccache python3-venv python3-dev libfmt-dev libcli11-dev nlohmann-json3-dev libgtest-dev libopenmpi-dev openmpi-bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test build install sanitize fuzz arm lint format clean
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

.venv/bin/python: | install
	python3 -m venv .venv

# N: how many tokens are read; the model takes 8192.
N := 4096
demo: install .venv/bin/python
	@mkdir -p build/demo
	@cmake --preset release >build/demo/configure.log || (cat build/demo/configure.log; exit 1)
	cmake --build --preset release --target heed
	.venv/bin/python tools/demo build/demo $(N)

build: install .venv/.installed
	cmake --preset release -DHEED_PYTHON=ON -DHEED_MPI=ON -DPython_EXECUTABLE="$(CURDIR)/.venv/bin/python" >build/configure.log || (cat build/configure.log; exit 1)
	cmake --build --preset release

test: build
	tests/kernel_objects.sh build/release
	tests/old_cpu.sh build/release .venv/bin/python
	./build/release/heed_tests --gtest_brief=1
	./build/release/heed verify tests/cases/*.safetensors
	OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 mpirun --oversubscribe -n 4 ./build/release/heed_dist_test
	.venv/bin/python -m pytest -q

# ASan and UBSan; RACES=1 runs TSan in their place (std::thread for OpenMP, whose barriers TSan does not see).
SANITIZER := $(if $(RACES),tsan,asan)
sanitize: install
	cmake --preset $(SANITIZER) >/dev/null
	cmake --build --preset $(SANITIZER) --target heed_tests
	./build/$(SANITIZER)/heed_tests --gtest_brief=1

# Each fuzzer for SECONDS from the seeds of fuzz/seeds.py; inputs that it keeps stay in build/fuzz/corpus, what it breaks on in build/fuzz.
# SEED repeats a run (what CI does: the same change, the same verdict); 0 draws a new one.
SECONDS := 60
SEED := 0
FUZZERS := safetensors gguf params case run model config
fuzz: install
	@dpkg -s clang-16 >/dev/null 2>&1 || $(SUDO) apt-get install -y -q --no-install-recommends clang-16
	cmake --preset fuzz >/dev/null
	cmake --build --preset fuzz
	python3 fuzz/seeds.py build/fuzz/corpus
	cd build/fuzz && for target in $(FUZZERS); do \
	  echo "$$target, $(SECONDS) s"; \
	  ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=1024 ./$${target}_fuzz -seed=$(SEED) -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=2048 -max_len=12288 -verbosity=0 -print_funcs=0 -print_final_stats=1 corpus/$$target || exit 1; \
	done

# The program for 64-bit Arm, and every case file on it, by emulation.
arm: install
	@dpkg -s g++-aarch64-linux-gnu libsimde-dev qemu-user >/dev/null 2>&1 || \
	  ($(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends g++-aarch64-linux-gnu libsimde-dev qemu-user)
	cmake -G Ninja -B build/arm --toolchain cmake/aarch64.cmake -DCMAKE_BUILD_TYPE=Release -DHEED_TESTS=OFF >/dev/null
	cmake --build build/arm
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/arm/heed verify tests/cases/*.safetensors

# Format, direction of includes, and clang-tidy on what the last commit changed (kernels aside: clang does not know their pragmas, nor OpenMP without its own runtime).
lint: install
	@dpkg -s clang-format-16 clang-tidy-16 >/dev/null 2>&1 || $(SUDO) apt-get install -y -q --no-install-recommends clang-format-16 clang-tidy-16
	python3 tools/check-includes.py
	clang-format-16 --dry-run -Werror $$(git ls-files '*.h' '*.cpp' '*.inl')
	@cmake --preset release >/dev/null
	git diff --name-only --diff-filter=d HEAD~1 -- 'src/*.cpp' 'apps/*.cpp' 2>/dev/null | grep -v /kernel/ | head -12 | xargs -r clang-tidy-16 -p build/release --quiet --extra-arg=-DHEED_STD_THREADS

format:
	clang-format-16 -i $$(git ls-files '*.h' '*.cpp' '*.inl')

clean:
	rm -rf build
