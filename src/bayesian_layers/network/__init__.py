"""Networks as functions of their parameters: which parameters are sites, and calls with one draw or many."""

from .calling import Outputs as Outputs
from .calling import call as call
from .calling import call_many as call_many
from .calling import is_shared as is_shared
from .calling import outputs as outputs
from .calling import with_padding as with_padding
from .inputs import Inputs as Inputs
from .inputs import check_inputs as check_inputs
from .inputs import dtype_and_device as dtype_and_device
from .inputs import evaluating as evaluating
from .inputs import explain_errors as explain_errors
from .inputs import named_parts as named_parts
from .inputs import num_rows as num_rows
from .inputs import take_rows as take_rows
from .rows import close as close
from .rows import draws_random_numbers as draws_random_numbers
from .rows import reordered as reordered
from .rows import treats_rows_alone as treats_rows_alone
from .sites import check_not_lazy as check_not_lazy
from .sites import hyperparameter_sites as hyperparameter_sites
from .sites import parameter_sites as parameter_sites
from .sites import priors_by_id as priors_by_id
from .vmap_rules import vmap_rules as vmap_rules
