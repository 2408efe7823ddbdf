"""Small mistakes in our own source, each with the test that must die of it.

A test that has never failed proves nothing. Each row changes one place of the source, to something that
someone has shipped (the numbers are those of the list of mistakes below), and names the test that sees it.
test_mutants.py applies them one at a time to a copy.

    1 level off by one   2 sub-sequences that do not meet   3 noise in the last step   4 x0 clipped, eps not
    5 a schedule reused at another T   6 tables in low precision   7 targets and loss weights
    8 EMA without warm-up, sampling from the wrong weights   9 norm and attention settings exchanged or applied twice
    11 signs of the KL and likelihood terms   15 resume that repeats or loses something
(The others come with the models that could make them.)
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In `file`, the one occurrence of `find` becomes `replace`; the test `killed_by` (in tests/) must then fail."""

    name: str
    file: str
    find: str
    replace: str
    killed_by: str


TAPE = [
    Mutant("a second path overwrites the first", "minigen/autograd.py",
           "grads[id(n)][1] + g)", "g)",
           "test_tape.py::test_diamond_sums_both_paths_before_it_goes_on"),
    Mutant("backward overwrites .grad", "minigen/autograd.py",
           "leaf.grad + total", "total",
           "test_tape.py::test_backward_twice_accumulates_and_zero_grad_starts_a_new_sum"),
    Mutant("composed sees the inputs themselves", "minigen/autograd.py",
           "proxies = [Identity()(x) for x in inputs]", "proxies = list(inputs)",
           "test_tape.py::test_an_input_that_depends_on_another_is_not_counted_twice"),
    Mutant("grad walks the whole graph", "minigen/autograd.py",
           "if targets is None or id(n) in wanted", "if True or id(n) in wanted",
           "test_tape.py::test_grad_visits_only_the_paths_to_its_inputs"),
    Mutant("needs is always true", "minigen/autograd.py",
           "needs = [id(parent) in on_the_way", "needs = [parent is not None",
           "test_tape.py::test_grad_stops_at_an_intermediate_target"),
    Mutant("a freed graph is not refused", "minigen/autograd.py",
           "if n.freed:", "if False:",
           "test_tape.py::test_a_second_backward_through_a_freed_graph_raises"),
    Mutant("a stale graph is not refused", "minigen/autograd.py",
           "if x.version != version:", "if False:",
           "test_tape.py::test_a_change_in_place_after_use_is_refused"),
    Mutant("float types mix", "minigen/tensor.py",
           "if first is not None and x.dtype != first.dtype:", "if False:",
           "test_tape.py::test_float_types_do_not_mix"),
    Mutant("the order of visits is not topological", "minigen/autograd.py",
           "in reversed(order)", "in sorted(order, key=lambda n: len(parents_of(n)))",
           "test_tape.py::test_diamond_sums_both_paths_before_it_goes_on"),
    Mutant("use_kernels does not force", "minigen/dispatch.py",
           "return forced or (", "return (",
           "test_tape.py::test_forced_kernels_raise_rather_than_fall_back"),
]  # fmt: skip

CHECKER = [
    Mutant("cotangents of ones", "minigen/gradcheck.py",
           "return [self.rng.standard_normal(y.shape) for y in self.evaluate(points)]",
           "return [np.ones(y.shape) for y in self.evaluate(points)]",
           "test_gradcheck.py::test_a_wrong_gradient_is_rejected"),
    Mutant("directions of ones", "minigen/gradcheck.py",
           "directions = [self.rng.standard_normal(x.shape) for x in points]",
           "directions = [np.ones(x.shape) for x in points]",
           "test_gradcheck.py::test_a_wrong_gradient_is_rejected"),
    Mutant("kinks looked for with one step size", "minigen/gradcheck.py",
           "roughness = abs((far_right - far_left) / (2 * h) - (right - left) / h)", "roughness = 0.0",
           "test_gradcheck.py::test_a_kink_within_the_step_is_seen_wherever_it_lies"),
    Mutant("kinks looked for on one side", "minigen/gradcheck.py",
           "roughness += ", "roughness += 0 * ",
           "test_gradcheck.py::test_a_kink_within_the_step_is_seen_wherever_it_lies"),
    Mutant("order 2 is order 1 again", "minigen/gradcheck.py",
           "function = gradient_of(function, check.inputs)", "points, names = points[: check.inputs], check.names",
           "test_gradcheck.py::test_a_wrong_gradient_is_rejected"),
]  # fmt: skip

OPERATIONS = [
    Mutant("mean in place of the broadcast sum", "minigen/ops/elementwise.py",
           "return g.sum(tuple(range(extra)) + stretched)", "return g.mean(tuple(range(extra)) + stretched)",
           "test_ops.py::test_gradient_order_1[add]"),
    Mutant("sign of the subtrahend", "minigen/ops/elementwise.py",
           "sum_to(-g, self.shapes[1])", "sum_to(g, self.shapes[1])",
           "test_ops.py::test_gradient_order_1[subtract]"),
    Mutant("divisor not squared", "minigen/ops/elementwise.py",
           "-g * a / (b * b)", "-g * a / b",
           "test_ops.py::test_gradient_order_1[divide]"),
    Mutant("exp saves a constant", "minigen/ops/elementwise.py",
           "return g * self.output()", "return g * self.output().detach()",
           "test_ops.py::test_gradient_order_2[exp]"),
    Mutant("an index given twice counts once", "minigen/ops/shape.py",
           "np.add.at(y, self.index, g)", "y[self.index] = g",
           "test_ops.py::test_gradient_order_1[index[repeated]]"),
    Mutant("bias gradient not summed over the batch", "minigen/ops/conv.py",
           "sum_over(g, (0, 1, 2) if bias", "sum_over(g[:1], (0, 1, 2) if bias",
           "test_ops.py::test_gradient_order_1[conv2d[3x3]]"),
    Mutant("every sample gets the first one's bias", "kernels/winograd.py",
           "bias[min(n, len(bias) - 1)]", "bias[0]",
           "test_winograd.py::test_every_sample_may_have_a_bias_of_its_own"),
    Mutant("no residual where a tile reaches beyond the edge", "kernels/winograd_tiles.py",
           "patch[i, j, at] + added", "patch[i, j, at]",
           "test_winograd.py::test_a_residual_is_added_to_every_pixel[9]"),
    Mutant("filters kept by their shape alone", "kernels/_memory.py",
           "key = name, id(weights)", "key = name, weights.shape",
           "test_winograd.py::test_filters_are_transformed_once_while_the_weights_stay"),
    Mutant("turned round with the padding it had", "kernels/im2col.py",
           "return w_shape[0] - 1 - padding[0], w_shape[1] - 1 - padding[1]", "return padding",
           "test_ops.py::test_numba_kernels_equal_the_numpy_definition[float64-conv2d[fewer channels out than in]]"),
    Mutant("a phase of dx reads the filter that was not turned", "kernels/indirect.py",
           "weights.shape[1] - 1 - t", "t",
           "test_conv_method.py::test_any_number_of_threads_computes_the_same[1]"),
    Mutant("float64 by a float32 method", "kernels/conv_method.py",
           "if dtype == np.float32 and fills_tiles", "if fills_tiles",
           "test_conv_method.py::test_which_convolutions_take_which_method[forward]"),
    Mutant("a helper stays where another works", "kernels/_threads.py",
           "if self.cpu is not None and self.cpu in self.taken:", "if self.cpu is None:",
           "test_parallel.py::test_a_helper_moves_away_from_a_processor_that_is_taken"),
    Mutant("a share is left to nobody", "kernels/_threads.py",
           "(tasks * i // parts, tasks * (i + 1) // parts) for i in range(parts)",
           "(tasks * i // parts, tasks * (i + 1) // parts) for i in range(max(1, parts - 1))",
           "test_parallel.py::test_shares_cover_every_task_once_in_order"),
    Mutant("silu's slope without its second term", "kernels/activation.py",
           "dx[i] = g[i] * s * (one + x[i] * (one - s))", "dx[i] = g[i] * s",
           "test_ops.py::test_gradient_order_1[silu]"),
    Mutant("softmax with a zero gradient", "kernels/softmax.py",
           "dx[i, j] = y[i, j] * (g[i, j] - mean)", "dx[i, j] = 0 * (g[i, j] - mean)",
           "test_ops.py::test_gradient_order_1[softmax]"),
    Mutant("relu's NumPy twin swallows NaN", "kernels/activation.py",
           """def relu_numpy(x):
    return np.maximum(x, 0)""", """def relu_numpy(x):
    return np.where(x > 0, x, 0).astype(x.dtype)""",
           "test_ops.py::test_special_values_are_treated_alike_in_both_dialects[float32-relu]"),
    Mutant("9: attention scale applied twice in the recorded path", "minigen/ops/attention.py",
           "* q.shape[-1] ** -0.5", "* q.shape[-1] ** -0.5 * q.shape[-1] ** -0.5",
           "test_ops.py::test_gradient_order_2[attention]"),
    Mutant("9: attention scale of another width", "kernels/attention.py",
           "s = q.shape[-1] ** -0.5 * np.einsum", "s = (q.shape[-1] * q.shape[-2]) ** -0.5 * np.einsum",
           "test_ops.py::test_numba_kernels_equal_the_numpy_definition[float64-attention]"),
    Mutant("9: eps passed as momentum", "minigen/ops/norm.py",
           "norm = BatchNorm(eps)", "norm = BatchNorm(momentum)",
           "test_ops.py::test_value_and_gradient_equal_torch[float64-batch_norm]"),
    Mutant("9: momentum the other way round", "minigen/ops/norm.py",
           "running_mean += momentum *", "running_mean += (1 - momentum) *",
           "test_norm.py::test_running_averages_move_by_momentum_and_hold_the_unbiased_variance"),
    Mutant("9: running variance biased", "minigen/ops/norm.py",
           "norm.var * (n / (n - 1))", "norm.var",
           "test_norm.py::test_running_averages_move_by_momentum_and_hold_the_unbiased_variance"),
    Mutant("9: the attention block never calls its norm", "minigen/models/unet.py",
           "self.attention(self.norm(x).reshape", "self.attention(x.reshape",
           "test_unet.py::test_one_training_step_equals_torchs"),
    Mutant("11: sign in the KL", "kernels/loss.py",
           "return (np.expm1(w) - w + m * m) / 2", "return (np.expm1(w) + w + m * m) / 2",
           "test_ops.py::test_numba_kernels_equal_the_numpy_definition[float64-kl_gaussian[none]]"),
    Mutant("11: likelihood without its constant", "kernels/loss.py",
           "return (LN_2PI + w +", "return (w +",
           "test_ops.py::test_numba_kernels_equal_the_numpy_definition[float64-gaussian_nll[none]]"),
]  # fmt: skip

DIFFUSION = [
    Mutant("1: noised to t, trained at t - 1", "minigen/diffusion/process.py",
           "prediction = model(self.q_sample(x0, t, eps), t)", "prediction = model(self.q_sample(x0, t, eps), t - 1)",
           "test_process.py::test_the_network_is_asked_at_the_level_that_the_noise_was_added_for"),
    Mutant("1: sampled one level below", "minigen/diffusion/samplers.py",
           "prediction = model(x, levels_of(x, level))", "prediction = model(x, levels_of(x, level - 1))",
           "test_samplers.py::test_ddpm_asks_the_network_once_at_every_level_from_T_to_1"),
    Mutant("2: ends at level 1", "minigen/diffusion/samplers.py",
           "return [T * i // steps for i in", "return [max(T * i // steps, 1) for i in",
           "test_samplers.py::test_ddim_levels_fall_strictly_from_T_to_0_for_any_number_of_steps"),
    Mutant("2: steps that do not divide T", "minigen/diffusion/samplers.py",
           "return [T * i // steps for i in", "return [T // steps * i for i in",
           "test_samplers.py::test_ddim_levels_fall_strictly_from_T_to_0_for_any_number_of_steps"),
    Mutant("2: lands where the next step does not start", "minigen/diffusion/samplers.py",
           "x = ddim_step(process, x, prediction, level, next_level,",
           "x = ddim_step(process, x, prediction, level, max(next_level - 1, 0),",
           "test_samplers.py::test_every_ddim_step_lands_on_the_level_that_the_next_call_starts_from"),
    Mutant("3: noise in the last step", "minigen/diffusion/samplers.py",
           "if level > 1 else None", "if level > 0 else None",
           "test_samplers.py::test_no_noise_is_drawn_or_added_in_the_last_step_nor_at_eta_0"),
    Mutant("4: eps not recomputed after clipping", "minigen/diffusion/samplers.py",
           'x0, eps = process.x0_and_eps(x0.clip(-1, 1), x, t, source="x0")', "x0 = x0.clip(-1, 1)",
           "test_samplers.py::test_a_clipped_x0_comes_with_the_eps_that_still_makes_up_x"),
    Mutant("5: linear schedule of T = 1000 at every T", "minigen/diffusion/schedules.py",
           "return np.linspace(1e-4, 0.02, T) * (1000 / T)", "return np.linspace(1e-4, 0.02, T)",
           "test_schedules.py::test_linear_keeps_its_total_noise_at_any_number_of_steps"),
    Mutant("5: linear in the root of beta", "minigen/diffusion/schedules.py",
           "return np.linspace(1e-4, 0.02, T) *", "return np.linspace(1e-4**0.5, 0.02**0.5, T) ** 2 *",
           "test_schedules.py::test_linear_is_ho_at_1000_steps"),
    Mutant("6: tables in float32", "minigen/diffusion/schedules.py",
           "return np.cumprod(self.alpha)", "return np.cumprod(self.alpha, dtype=np.float32).astype(np.float64)",
           "test_schedules.py::test_alpha_bar_is_the_product_of_the_alphas_to_13_digits"),
    Mutant("7: sign of v", "minigen/diffusion/process.py",
           "return eps * at(self.signal, t, x0) - x0 *", "return eps * at(self.signal, t, x0) + x0 *",
           "test_process.py::test_v_is_sqrt_alpha_bar_eps_minus_sqrt_1_minus_alpha_bar_x0"),
    Mutant("posterior mean with alpha_bar_t where alpha_t belongs", "minigen/diffusion/process.py",
           "self.posterior_xt = np.sqrt(schedule.alpha)", "self.posterior_xt = np.sqrt(alpha_bar)",
           "test_process.py::test_the_posterior_is_gaussian_conditioning"),
]  # fmt: skip

TRAINING = [
    Mutant("8: EMA without warm-up", "minigen/optim/ema.py",
           "return min(self.decay, (1 + self.updates) / (10 + self.updates))", "return self.decay",
           "test_optim.py::test_the_warm_up_forgets_the_initial_weights"),
    Mutant("8: load gives the last weights", "minigen/train/start.py",
           'if weights == "ema" else {}', 'if weights == "last" else {}',
           "test_resume.py::test_load_gives_the_averaged_weights_or_the_last_ones"),
    Mutant("8: samples of training come from the last weights", "minigen/train/ddpm.py",
           "with self.average.weights():\n", "if True:\n",
           "test_loop.py::test_samples_come_from_the_averaged_weights_and_leave_the_others_alone"),
    Mutant("adam without bias correction", "kernels/optimizer.py",
           "m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)", "m_hat, v_hat = m, v",
           "test_optimizer_kernels.py::test_first_adam_step_has_length_lr_whatever_the_gradient"),
    Mutant("15: resume repeats a step", "minigen/train/start.py",
           "fit(task, batches, run, first, save_images)", "fit(task, batches, run, max(first - 1, 0), save_images)",
           "test_resume.py::test_resume_equals_the_uninterrupted_run"),
    Mutant("15: resume loses the optimiser", "minigen/train/task.py",
           'optimizer.load_state_dict(under(f"optimizer/{name}/", arrays))', "pass",
           "test_resume.py::test_resume_equals_the_uninterrupted_run"),
    Mutant("15: resume loses the average's count", "minigen/train/task.py",
           'average.updates = header["ema_updates"][name]', "average.updates = 0",
           "test_resume.py::test_resume_equals_the_uninterrupted_run"),
    Mutant("15: resume loses the random numbers", "minigen/train/task.py",
           'self.generator.load_state(header["generator"])', "pass",
           "test_resume.py::test_resume_equals_the_uninterrupted_run"),
]  # fmt: skip

GPU = [
    Mutant("a batch is handed out before it has arrived", "minigen/data/prefetch.py",
           "self.cupy.cuda.get_current_stream().wait_event(self.sent)", "pass",
           "test_cuda_training.py::test_batches_that_are_fetched_ahead_are_those_that_were_asked_for"),
    Mutant("pinned memory is written to while it is copied", "minigen/data/prefetch.py",
           "self.sent.synchronize()", "pass",
           "test_cuda_training.py::test_batches_that_are_fetched_ahead_are_those_that_were_asked_for"),
    Mutant("coefficients of the process stay on the CPU", "minigen/diffusion/process.py",
           "return to_device(coefficient, device_of(x.data if isinstance(x, Tensor) else x))", "return coefficient",
           "test_cuda_training.py::test_the_process_works_where_its_arrays_are"),
]  # fmt: skip

MUTANTS = TAPE + CHECKER + OPERATIONS + DIFFUSION + TRAINING + GPU
