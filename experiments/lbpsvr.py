"""DeepFace's detector of six fiducial points: support vector regression on histograms of local binary patterns, trained on HELEN.

Paper: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, §2.1 (which gives no settings of the detector).
Command: jaxface train lbpsvr --workdir runs/lbpsvr
Expected: a mean error of 8.20 % of the distance of the eye centres on HELEN's test photos, six points, see docs/alignment.md.
"""

from jaxface.alignment import LbpSvrExperiment

EXPERIMENT = LbpSvrExperiment(licence="research only", origin="HELEN (Le et al., 2012), iBUG")

# A check of the pipeline in less than a minute.
SMALL = LbpSvrExperiment(name="lbpsvr_small", squares=1, cells=6, licence="research only", origin="HELEN (Le et al., 2012), iBUG")
