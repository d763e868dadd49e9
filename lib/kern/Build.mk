# SPDX-License-Identifier: Apache-2.0
src-y := loader.c steer.c ingress.c probe.c
