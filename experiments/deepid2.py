"""DeepID2's joint signal: identification by softmax and verification of all pairs of the batch.

Paper: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014: 160 numbers, the margin
of the verification signal re-fitted from verification errors, λ its weight.
Here: the small network and the CelebA subset of celeba_lfw (the paper's network: --model.name deepid2); balanced batches, since the
verification signal needs pairs of one identity. Unlike in the paper, the signal uses embeddings scaled to length one: batch norm
starts with a length of √160, at which λ = 0.05 collapsed the embeddings (length 1 after 200 steps) before identification had
converged, and LFW was 69.25 %.
Command: JAXFACE_DATA=FOLDER jaxface train deepid2
The paper's sweep of λ: --terms.1.weight 0 (identification alone), 0.05, 0.5, 5; verification alone: --terms.0.weight 0 --terms.1.weight 1.
One kind of pairs: --terms.1.kinds same, or different (L2+ and L2−). L1: --terms.1.distance l1. Cosine: --terms.1 pairs --terms.1.form
contrastivecosine --terms.1.weight 0.05. All of them: make sweep-losses. The system, with an ensemble of patches: deepid2_patches.
Expected on LFW view 2, each after some three minutes on two quiet cores: 82.20 % ± 0.44, 82.43 ± 0.53, 82.22 ± 0.51; at λ = 5
the fitted margin and all distances shrink together, and the result is 61.15 ± 0.66.
"""

from dataclasses import replace

from jaxface.heads import Classification
from jaxface.losses import Softmax, VerificationSignal
from jaxface.training import load_experiment

MARGINS, _ = load_experiment("margins")

EXPERIMENT = replace(
  MARGINS,
  name="deepid2",
  data=replace(MARGINS.data, order="balanced", identities_per_batch=32, images_per_identity=4),
  model=replace(MARGINS.model, embedding_size=160),
  terms=(Classification(Softmax()), VerificationSignal(unit=True, weight=0.05)),
)
