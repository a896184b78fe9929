# SPDX-License-Identifier: MIT
import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get


class Virtio(ConanFile):
    name = "virtio"
    version = "@VERSION@"
    description = "Drivers for virtio devices, header-only, for code without an operating system"
    license = "MIT"
    topics = ("virtio", "drivers", "bare-metal", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"

    def layout(self):
        cmake_layout(self, src_folder="source")

    def package_id(self):
        self.info.clear()  # the package is the same for every compiler

    def source(self):
        get(self, "@URL@", sha256="@SHA256@", strip_root=True)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["VIRTIO_TESTS"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()

    def package_info(self):
        # Use the library's own CMake package: its targets require C++20. Targets that Conan generates would not.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("share", "virtio", "cmake")]
        self.cpp_info.set_property("pkg_config_name", "virtio")
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
