/* Holds a pendulum up with a policy that npr trained on Pendulum-v1.

   ADC1 channel 0: potentiometer at the axis, one turn over its range, 2048 where the pendulum is up
   GPIO 18: direction of the motor driver    GPIO 19: its PWM */

#include <math.h>
#include <stdlib.h>

#include "driver/gpio.h"
#include "driver/ledc.h"
#include "esp_adc/adc_oneshot.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#include "policy.h"

#define DIRECTION GPIO_NUM_18
#define PWM GPIO_NUM_19
#define PERIOD_MS 50 /* a step of Pendulum-v1 */
#define LARGEST_SPEED 8.0f
#define LARGEST_TORQUE 2.0f
#define LARGEST_DUTY 1023

static const char *TAG = "pendulum";
static adc_oneshot_unit_handle_t adc;

/* Radians, 0 where the pendulum is up. */
static float angle(void)
{
    int raw = 0;
    ESP_ERROR_CHECK(adc_oneshot_read(adc, ADC_CHANNEL_0, &raw));
    return (float)(raw - 2048) * (2.0f * (float)M_PI / 4096.0f);
}

static void drive(float torque)
{
    uint32_t duty = (uint32_t)(fabsf(torque) * (LARGEST_DUTY / LARGEST_TORQUE));
    gpio_set_level(DIRECTION, torque < 0.0f);
    ledc_set_duty(LEDC_LOW_SPEED_MODE, LEDC_CHANNEL_0, duty);
    ledc_update_duty(LEDC_LOW_SPEED_MODE, LEDC_CHANNEL_0);
}

static void control(void *unused)
{
    float before = angle();
    TickType_t woken = xTaskGetTickCount();

    (void)unused;
    for (;;) {
        float obs[POLICY_OBS_DIM], torque[POLICY_ACT_DIM];
        float now = angle();
        float moved = remainderf(now - before, 2.0f * (float)M_PI);

        before = now;
        obs[0] = cosf(now);
        obs[1] = sinf(now);
        obs[2] = fmaxf(-LARGEST_SPEED, fminf(LARGEST_SPEED, moved * (1000.0f / PERIOD_MS)));
        policy_act(obs, torque);
        drive(torque[0]);
        vTaskDelayUntil(&woken, pdMS_TO_TICKS(PERIOD_MS));
    }
}

static void set_up(void)
{
    const adc_oneshot_unit_init_cfg_t unit = {.unit_id = ADC_UNIT_1};
    const adc_oneshot_chan_cfg_t channel = {
        .atten = ADC_ATTEN_DB_12,
        .bitwidth = ADC_BITWIDTH_12,
    };
    const ledc_timer_config_t timer = {
        .speed_mode = LEDC_LOW_SPEED_MODE,
        .duty_resolution = LEDC_TIMER_10_BIT,
        .timer_num = LEDC_TIMER_0,
        .freq_hz = 20000,
        .clk_cfg = LEDC_AUTO_CLK,
    };
    const ledc_channel_config_t pwm = {
        .gpio_num = PWM,
        .speed_mode = LEDC_LOW_SPEED_MODE,
        .channel = LEDC_CHANNEL_0,
        .timer_sel = LEDC_TIMER_0,
    };

    ESP_ERROR_CHECK(adc_oneshot_new_unit(&unit, &adc));
    ESP_ERROR_CHECK(adc_oneshot_config_channel(adc, ADC_CHANNEL_0, &channel));
    ESP_ERROR_CHECK(ledc_timer_config(&timer));
    ESP_ERROR_CHECK(ledc_channel_config(&pwm));
    ESP_ERROR_CHECK(gpio_set_direction(DIRECTION, GPIO_MODE_OUTPUT));
}

void app_main(void)
{
    float error;

    if (policy_selftest(&error) != 0) {
        ESP_LOGE(TAG, "policy.h does not compute what npr did: error %g", (double)error);
        abort();
    }
    ESP_LOGI(TAG, "policy: %d bytes of tables, largest error %g", POLICY_FLASH_BYTES,
             (double)error);
    set_up();
    xTaskCreate(control, "control", 4096, NULL, 10, NULL);
}
