"""Supervised descent method: 68 face points by linear regressors in closed form on local descriptors, trained on HELEN.

Paper: Xiong, De la Torre, "Supervised Descent Method and Its Applications to Face Alignment", 2013 (descriptors as SIFT has them, a few stages).
Command: jaxface train sdm --workdir runs/sdm
Expected: a mean error of 4.21 % of the inter-ocular distance on HELEN's test photos, see docs/alignment.md.
"""

from jaxface.alignment import SdmExperiment

EXPERIMENT = SdmExperiment(licence="research only", origin="HELEN (Le et al., 2012), iBUG")

# A check of the pipeline in less than a minute.
SMALL = SdmExperiment(name="sdm_small", points=5, squares=2, cells=(8, 4), licence="research only", origin="HELEN (Le et al., 2012), iBUG")
