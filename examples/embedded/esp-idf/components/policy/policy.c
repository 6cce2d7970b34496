#define POLICY_IMPLEMENTATION
#include "policy.h"
